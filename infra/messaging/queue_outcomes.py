"""Says what became of an event in each queue that wanted it. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping

from infra.amqp import topology
from infra.messaging.destination_queues import find_bound_queues
from infra.messaging.event_evidence import Evidence, OutboxEntry
from infra.storage.pause_registry import Pauses
from infra.storage.waiting_events import WaitingEvent
from schemas.events import EventDeadLetter, QueueOutcome

BROKEN = "the path to the queue is broken"
SKIPPED = "the account is paused: it is handled again when the account is resumed"


@dataclass(frozen=True, slots=True)
class Situation:
    """What holds for all events at the time ``at`` (UTC).

    ``shows_people``: who acted, and why something is paused, is told too.
    """

    at: datetime
    pauses: Pauses = field(default_factory=Pauses)
    broken_paths: frozenset[str] = frozenset()
    shows_people: bool = True


def list_queues(evidence: Evidence) -> list[str]:
    """List the queues that wanted the event, in the order of the topology."""
    keys = {event.routing_key for event in evidence.logged}
    keys |= {entry.routing_key for entry in evidence.outbox if entry.queue is None}
    wanted = {queue for key in keys for queue in find_bound_queues(key)}
    wanted |= evidence.handled.keys() | evidence.waiting.keys()
    wanted |= {letter["queue"] for letter in evidence.letters}
    wanted |= {entry.queue for entry in evidence.outbox if entry.queue}
    return [name for name in topology.WORK_QUEUE_NAMES if name in wanted]


def find_outcome(queue: str, evidence: Evidence, now: Situation, acceptances: int) -> QueueOutcome:
    """Find what became of an event in a queue; what happened last counts."""
    letters = [letter for letter in evidence.letters if letter["queue"] == queue]
    told = (
        _describe_settled(queue, evidence, letters, acceptances)
        or _describe_waiting(queue, evidence, letters, now)
        or _describe_queued(queue, evidence.waiting.get(queue), now)
    )
    shown = tuple(_show_letter(letter, now) for letter in letters)
    return QueueOutcome(queue=queue, dead_letters=shown, **told)


def _describe_settled(
    queue: str, evidence: Evidence, letters: Sequence[RowMapping], acceptances: int
) -> dict[str, Any] | None:
    """Describe an event that was handled or is dead; None of any other."""
    if (skipped := evidence.skipped.get(queue)) is not None:
        return {"state": "paused", "at": skipped, "reason": SKIPPED}
    if (handled := evidence.handled.get(queue)) is not None:
        return {"state": "handled", "at": handled, "duplicates": max(0, acceptances - 1)}
    open_letters = [letter for letter in letters if letter["state"] == "open"]
    return _describe_death(open_letters[-1]) if open_letters else None


def _describe_waiting(
    queue: str, evidence: Evidence, letters: Sequence[RowMapping], now: Situation
) -> dict[str, Any] | None:
    """Describe an event that is in the outbox or a retry tier, or was discarded; else None."""
    if entry := _find_entry(queue, evidence):
        return {"state": "outbox", "at": entry.written_at, "reason": entry.parked_reason}
    waiting = evidence.waiting.get(queue)
    if waiting is not None and waiting.due_at > now.at:
        until = {"until": waiting.due_at, "tier": waiting.tier}
        return {"state": "waiting", "at": waiting.written_at, **until, **_describe_failure(waiting)}
    if letters and waiting is None and letters[-1]["state"] == "discarded":
        return _describe_death(letters[-1])
    return None


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
