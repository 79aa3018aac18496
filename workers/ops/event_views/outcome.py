"""Says in words what became of an event in a queue, and what a platform answered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from schemas.events import QueueOutcome, TrackedEvent
from workers.ops.format import format_count, format_time

PLATFORM_NAMES = {"claude": "Claude Ads", "chatgpt": "ChatGPT Ads", "gemini": "Gemini Ads"}
# The most serious first.
SEVERITY = ("dead", "waiting", "outbox", "paused", "queued", "handled")
BADGES = {
    "dead": ("bad", "Dead letter"),
    "waiting": ("warn", "Waits for a retry"),
    "outbox": ("warn", "In the outbox"),
    "paused": ("paused", "Paused"),
    "queued": ("unknown", "In its queue"),
    "handled": ("ok", "Handled"),
}


@dataclass(frozen=True, slots=True)
class Told:
    """A state, its sentence, and what is known besides; times in them are UTC."""

    state: str
    text: str
    more: str = ""


def count_attempts(attempts: int | None) -> str:
    """Write how many attempts have failed."""
    return f"{attempts or 0} attempt{'' if attempts == 1 else 's'} failed"


def describe_outcome(outcome: QueueOutcome, now: datetime) -> Told:
    """Describe what became of an event in one queue, in a few words."""
    state = BADGES[outcome.state][0]
    failure = ": ".join(filter(None, (outcome.code, outcome.reason)))
    if outcome.state == "handled":
        dropped = outcome.duplicates
        text = "" if not dropped else f"{format_count(dropped)} repeated, dropped"
        return Told(state, "handled", text)
    if outcome.state == "waiting" and outcome.until is not None:
        until = format_time(outcome.until, now)
        if outcome.kind == "snoozed":
            return Told("paused", f"snoozed until {until}", failure)
        return Told(state, f"{count_attempts(outcome.attempts)}, next at {until}", failure)
    if outcome.state == "dead":
        discarded = outcome.dead_letters and outcome.dead_letters[-1].state == "discarded"
        return Told(state, "discarded" if discarded else "dead letter", failure)
    words = {
        "outbox": "in the outbox, not published yet",
        "paused": "waits, the queue or the account is paused",
        "queued": "in the queue, or in the hands of a worker",
    }
    return Told(state, words.get(outcome.state, outcome.state), failure)


def describe_result(event: TrackedEvent) -> Told | None:
    """Describe what a platform or a worker answered, where the event says it."""
    result = event.result
    if not result:
        return None
    is_rejected = "code" in result
    platform = PLATFORM_NAMES.get(str(result.get("platform")), "")
    verb = "rejected" if is_rejected else "took"
    version = f" version {result['version']}" if "version" in result else ""
    if not platform:
        text = "The command was rejected" if is_rejected else "Answered"
    elif "version" in result and "previous" not in result:
        text = f"{platform} {verb}{version}"
    else:
        text = f"{platform} reports a status"
    hidden = ("platform", "version")
    more = ", ".join(f"{name} {value}" for name, value in result.items() if name not in hidden)
    return Told("bad" if is_rejected else "ok", text, more)


def walk(event: TrackedEvent) -> Iterator[TrackedEvent]:
    """Give an event and all that it caused, each before what it caused."""
    yield event
    for caused in event.caused:
        yield from walk(caused)


def find_worst(events: Sequence[TrackedEvent]) -> tuple[TrackedEvent, QueueOutcome] | None:
    """Find the most serious outcome of events; the first of equal ones, None without any."""
    found = [(event, outcome) for event in events for outcome in event.queues]
    return min(found, key=lambda pair: SEVERITY.index(pair[1].state), default=None)


def measure_seconds(event: TrackedEvent) -> float | None:
    """Measure from the first acceptance to when the last queue handled it, in seconds."""
    if not event.accepted or not event.queues:
        return None
    times = [outcome.at for outcome in event.queues if outcome.state == "handled"]
    known = [at for at in times if at is not None]
    if len(known) < len(event.queues):
        return None
    return max(0.0, (max(known) - event.accepted[0].at).total_seconds())
