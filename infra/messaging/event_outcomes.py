"""Says what became of one event, from what is known of it. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import RowMapping

from infra.amqp import topology
from infra.messaging.destination_queues import find_bound_queues
from infra.messaging.event_evidence import EventName, Evidence, OutboxEntry
from infra.messaging.headers import DOOR
from infra.storage.event_index import IndexedEvent
from infra.storage.pause_registry import Pauses
from infra.storage.waiting_events import WaitingEvent
from schemas.events import (
    EventAcceptance,
    EventDeadLetter,
    EventStep,
    QueueOutcome,
    TrackedEvent,
)
from schemas.operations import Operation

WORKER_DOOR = "a worker"  # of a message in the outbox that the ingress has not written
BROKEN = "the path to the queue is broken"


@dataclass(frozen=True, slots=True)
class Situation:
    """What holds for all events at the time ``at`` (UTC).

    ``shows_people``: who acted, and why something is paused, is told too.
    """

    at: datetime
    pauses: Pauses = field(default_factory=Pauses)
    broken_paths: frozenset[str] = frozenset()
    shows_people: bool = True


def describe_event(
    name: EventName,
    evidence: Evidence,
    now: Situation,
    *,
    operation: Operation | None = None,
    caused: Sequence[TrackedEvent] = (),
    is_complete: bool = True,
) -> TrackedEvent:
    """Describe an event, where it is, and what it caused."""
    first = evidence.logged[0] if evidence.logged else None
    letter = evidence.letters[0] if evidence.letters else {}
    told = evidence.outbox[0].attributes if evidence.outbox else {}
    accepted = _list_acceptances(evidence)
    queues = tuple(
        _find_outcome(queue, evidence, now, len(accepted)) for queue in _list_queues(evidence)
    )
    return TrackedEvent(
        id=name.id or None,
        source=name.source,
        type=first.type if first else letter.get("type") or _text(told.get("type")),
        subject=first.subject if first else _text(told.get("subject")),
        time=first.occurred_at if first else None,
        correlation_id=first.correlation_id if first else _text(told.get("correlationid")),
        causation_id=first.causation_id if first else _text(told.get("causationid")),
        accepted=accepted,
        queues=queues,
        steps=_list_steps(evidence, accepted, queues),
        result=_read_result(first),
        operation=operation,
        caused=tuple(caused),
        is_complete=is_complete,
    )


def _list_acceptances(evidence: Evidence) -> tuple[EventAcceptance, ...]:
    """List the acceptances, the oldest first; one that waits in the outbox is not logged yet.

    The log tells no time, so the index knows when it read an event of another system; it was
    accepted before anything became of it.
    """
    outcomes = [*evidence.handled.values(), *(one["first_failed_at"] for one in evidence.letters)]
    logged = [
        EventAcceptance(
            at=min([event.accepted_at or event.logged_at, *outcomes])
            if event is evidence.logged[0]
            else event.accepted_at or event.logged_at,
            door=event.door,
            how="outbox" if event.from_outbox else "confirmed",
            log_offset=event.log_offset,
        )
        for event in evidence.logged
    ]
    waiting = [
        EventAcceptance(
            at=entry.written_at,
            door=str(entry.headers.get(DOOR) or WORKER_DOOR),
            how="outbox",
            log_offset=None,
        )
        for entry in evidence.outbox
        if entry.queue is None
    ]
    return (*logged, *waiting)


def _list_queues(evidence: Evidence) -> list[str]:
    """List the queues that wanted the event, in the order of the topology."""
    keys = {event.routing_key for event in evidence.logged}
    keys |= {entry.routing_key for entry in evidence.outbox if entry.queue is None}
    wanted = {queue for key in keys for queue in find_bound_queues(key)}
    wanted |= evidence.handled.keys() | evidence.waiting.keys()
    wanted |= {letter["queue"] for letter in evidence.letters}
    wanted |= {entry.queue for entry in evidence.outbox if entry.queue}
    return [name for name in topology.WORK_QUEUE_NAMES if name in wanted]


def _find_outcome(queue: str, evidence: Evidence, now: Situation, acceptances: int) -> QueueOutcome:
    """Find what became of an event in a queue; what happened last counts."""
    letters = [letter for letter in evidence.letters if letter["queue"] == queue]
    shown = tuple(_show_letter(letter, now) for letter in letters)
    told: dict[str, Any] = {"queue": queue, "dead_letters": shown}
    if (handled := evidence.handled.get(queue)) is not None:
        duplicates = max(0, acceptances - 1)
        return QueueOutcome(**told, state="handled", at=handled, duplicates=duplicates)
    if is_open := [letter for letter in letters if letter["state"] == "open"]:
        return QueueOutcome(**told, **_describe_death(is_open[-1]))
    if entry := _find_entry(queue, evidence):
        return QueueOutcome(**told, state="outbox", at=entry.written_at, reason=entry.parked_reason)
    waiting = evidence.waiting.get(queue)
    if waiting is not None and waiting.due_at > now.at:
        return QueueOutcome(
            **told,
            **_describe_failure(waiting),
            state="waiting",
            at=waiting.written_at,
            until=waiting.due_at,
            tier=waiting.tier,
        )
    if letters and waiting is None and letters[-1]["state"] == "discarded":
        return QueueOutcome(**told, **_describe_death(letters[-1]))
    return QueueOutcome(**told, **_describe_queued(queue, waiting, now))


def _describe_queued(queue: str, waiting: WaitingEvent | None, now: Situation) -> dict[str, Any]:
    """Describe that an event is in its queue: again since its wait is over, or paused."""
    told: dict[str, Any] = {"state": "queued"}
    if waiting is not None:
        told |= {**_describe_failure(waiting), "at": waiting.due_at}
    if (pause := now.pauses.find(queue)) is not None:
        reason = pause.reason if now.shows_people else None
        told |= {"state": "paused", "at": pause.paused_at, "reason": reason}
    elif queue in now.broken_paths:
        told |= {"reason": BROKEN}
    return told


def _describe_failure(waiting: WaitingEvent) -> dict[str, Any]:
    return {
        "kind": waiting.kind,
        "attempts": waiting.attempts,
        "code": waiting.error_class,
        "reason": waiting.reason,
    }


def _find_entry(queue: str, evidence: Evidence) -> OutboxEntry | None:
    """Find the message in the outbox that is for a queue, unless the event was published before."""
    for entry in evidence.outbox:
        if entry.queue == queue or (entry.queue is None and not evidence.logged):
            return entry
    return None


def _describe_death(letter: RowMapping) -> dict[str, Any]:
    return {
        "state": "dead",
        "at": letter["last_failed_at"],
        "attempts": letter["attempts"],
        "code": letter["error_class"],
        "reason": letter["reason"],
    }


def _show_letter(letter: RowMapping, now: Situation) -> EventDeadLetter:
    return EventDeadLetter(
        id=letter["id"],
        state=letter["state"],
        code=letter["error_class"],
        reason=letter["reason"],
        stage=letter["stage"],
        attempts=letter["attempts"],
        first_failed_at=letter["first_failed_at"],
        last_failed_at=letter["last_failed_at"],
        acted_at=letter["acted_at"],
        acted_by=letter["acted_by"] if now.shows_people else None,
    )


def _list_steps(
    evidence: Evidence, accepted: Sequence[EventAcceptance], queues: Sequence[QueueOutcome]
) -> tuple[EventStep, ...]:
    """List what happened, in its order, with the seconds between the steps."""
    steps: list[tuple[datetime, str, str | None]] = [
        (one.at, f"accepted ({one.how}): {one.door}", None) for one in accepted
    ]
    steps += [
        (event.logged_at, "published from the outbox", None)
        for event in evidence.logged
        if event.from_outbox and event.accepted_at is not None
    ]
    for one in queues:
        for letter in one.dead_letters:
            steps.append((letter.last_failed_at, f"dead-lettered: {letter.code}", one.queue))
            if letter.acted_at is not None and letter.state != "open":
                by = f" by {letter.acted_by}" if letter.acted_by else ""
                steps.append((letter.acted_at, f"{letter.state}{by}", one.queue))
        if one.state == "handled" and one.at is not None:
            steps.append((one.at, "handled", one.queue))
        elif one.state == "waiting" and one.at is not None:
            steps.append((one.at, f"{one.kind}: {one.code}, waits {one.tier}", one.queue))
    steps.sort(key=lambda step: step[0])
    befores = [None, *(step[0] for step in steps)]
    return tuple(
        EventStep(
            at=at,
            step=what,
            queue=queue,
            seconds=None if before is None else (at - before).total_seconds(),
        )
        for before, (at, what, queue) in zip(befores, steps, strict=False)
    )


def _read_result(event: IndexedEvent | None) -> dict[str, Any] | None:
    if event is None or event.result is None:
        return None
    found: dict[str, Any] = orjson.loads(event.result)
    return found


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
