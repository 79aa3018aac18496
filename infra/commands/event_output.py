"""Prints events for people: a head, the queues, the steps with their times, what was caused."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from infra.commands.output import format_time, print_table
from schemas.escaping import escape
from schemas.events import EventDeadLetter, QueueOutcome, TrackedEvent

REASON_LENGTH = 300  # characters
BRANCH, LAST_BRANCH, TRUNK, SPACE = "├─ ", "└─ ", "│  ", "   "
QUEUE_COLUMNS = ("QUEUE", "STATE", "SINCE", "DETAILS")
STEP_COLUMNS = ("TIME", "AFTER", "STEP", "QUEUE")


def print_events(events: Sequence[TrackedEvent]) -> None:
    """Print events one below the other, each with its tree."""
    for number, event in enumerate(events):
        if number:
            print()
        _print_event(event)


def _print_event(event: TrackedEvent) -> None:
    print(f"{escape(event.type or 'unreadable')}  {escape(event.id or '')}")
    told = {
        "source": event.source,
        "subject": event.subject,
        "time": event.time and format_exact(event.time),
        "correlation id": event.correlation_id,
        "causation id": event.causation_id,
        "operation": event.operation and event.operation.state,
        "result": _describe_result(event),
    }
    for name, value in told.items():
        if value:
            print(f"  {name:15}{escape(value, REASON_LENGTH)}")
    if len(event.accepted) > 1:
        print(f"  {'accepted':15}{len(event.accepted)} times")
    if event.queues:
        print()
        print_table(QUEUE_COLUMNS, map(_to_cells, event.queues))
    elif event.accepted:
        print(f"  {'queues':15}none wants it: it is in the event log alone")
    if event.steps:
        print()
        print_table(STEP_COLUMNS, _list_steps(event))
    if event.caused:
        print("\ncaused:")
        for line in _draw(event.caused, "", is_complete=event.is_complete):
            print(line)


def format_exact(at: datetime) -> str:
    """Write an aware time in UTC, to the millisecond."""
    return f"{format_time(at)[:-1]}.{at.microsecond // 1000:03d}Z"


def _to_cells(outcome: QueueOutcome) -> tuple[str, ...]:
    since = "" if outcome.at is None else format_exact(outcome.at)
    return outcome.queue, outcome.state, since, "; ".join(_list_details(outcome))


def _list_details(outcome: QueueOutcome) -> Iterator[str]:
    if outcome.until is not None:
        yield f"{outcome.kind}: returns at {format_time(outcome.until)} (tier {outcome.tier})"
    if outcome.attempts and outcome.state != "handled":
        yield f"{outcome.attempts} failed attempt{'' if outcome.attempts == 1 else 's'}"
    if outcome.code or outcome.reason:
        told = ": ".join(filter(None, (outcome.code, outcome.reason)))
        yield escape(told, REASON_LENGTH)
    if outcome.duplicates:
        many = "" if outcome.duplicates == 1 else "s"
        yield f"{outcome.duplicates} duplicate{many} dropped"
    yield from map(_describe_letter, outcome.dead_letters)


def _describe_letter(letter: EventDeadLetter) -> str:
    by = f" by {letter.acted_by}" if letter.acted_by and letter.state != "open" else ""
    return f"dead letter {letter.id} ({letter.state}{by}, {letter.code}, stage {letter.stage})"


def _list_steps(event: TrackedEvent) -> Iterator[tuple[str, ...]]:
    for step in event.steps:
        after = "" if step.seconds is None else f"+{step.seconds:.3f} s"
        yield format_exact(step.at), after, step.step, step.queue or ""


def _draw(events: Sequence[TrackedEvent], indent: str, *, is_complete: bool) -> Iterator[str]:
    """Draw a tree, a line for each event: its type, id, queues and result."""
    for number, event in enumerate(events, 1):
        is_last = number == len(events) and is_complete
        yield indent + (LAST_BRANCH if is_last else BRANCH) + _describe_line(event)
        inner = indent + (SPACE if is_last else TRUNK)
        if event.caused or not event.is_complete:
            yield from _draw(event.caused, inner, is_complete=event.is_complete)
    if not is_complete:
        yield f"{indent}{LAST_BRANCH}more"


def _describe_line(event: TrackedEvent) -> str:
    at = format_exact(event.accepted[0].at) + "  " if event.accepted else ""
    queues = ", ".join(f"{one.queue} {one.state}" for one in event.queues)
    result = _describe_result(event)
    parts = (f"{event.type or 'unreadable'}  {event.id or ''}", queues, result)
    return at + "  ".join(escape(part, REASON_LENGTH) for part in parts if part)


def _describe_result(event: TrackedEvent) -> str:
    return ", ".join(f"{name}={value}" for name, value in (event.result or {}).items())
