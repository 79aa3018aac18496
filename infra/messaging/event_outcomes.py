"""Says what became of one event, from what is known of it. Pure functions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from infra.messaging.event_evidence import EventName, Evidence
from infra.messaging.headers import DOOR
from infra.messaging.queue_outcomes import Situation, find_outcome, list_queues
from infra.storage.event_index import IndexedEvent
from schemas.events import (
    EventAcceptance,
    EventStep,
    QueueOutcome,
    TrackedEvent,
)
from schemas.operations import Operation

WORKER_DOOR = "a worker"  # of a message in the outbox that the ingress has not written


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
        find_outcome(queue, evidence, now, len(accepted)) for queue in list_queues(evidence)
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
