"""What became of an event: the answer to "where is my event?"."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from schemas.dead_letters import DeadLetterState
from schemas.operations import Operation
from schemas.types import FrozenModel

# handled   its effects are committed
# waiting   it returns to its queue from a retry tier
# dead      a dead letter is open, or was discarded
# outbox    it is not published yet
# paused    it is in its queue, which is paused or stopped
# queued    it is in its queue, or in the hands of a worker
EventState = Literal["handled", "waiting", "dead", "outbox", "paused", "queued"]
EventField = Literal["id", "subject", "correlation", "operation", "campaign"]


class EventAcceptance(FrozenModel):
    """One acceptance of an event: when (UTC), by which door, and how it became durable.

    ``door`` is ``http <method> <route> key=<id>`` (or ``user=<id>``), ``webhook <source>
    slot=<number of the secret>``, or ``amqp user=<broker user>``. ``confirmed``: the broker took
    it at once; ``outbox``: Postgres had it first. ``log_offset`` is its place in the event log,
    None while it is not there.
    """

    at: datetime
    door: str
    how: Literal["confirmed", "outbox"]
    log_offset: int | None


class EventDeadLetter(FrozenModel):
    """A dead letter of an event, and what was done with it."""

    id: UUID
    state: DeadLetterState
    code: str
    reason: str
    stage: str
    attempts: int
    first_failed_at: datetime
    last_failed_at: datetime
    acted_at: datetime | None
    acted_by: str | None


class QueueOutcome(FrozenModel):
    """What became of an event in one queue.

    ``at`` is when that happened; ``until`` when a waiting event returns, from the retry tier
    ``tier`` after ``attempts`` failed attempts. ``duplicates`` counts the later acceptances, which
    this queue drops.
    """

    queue: str
    state: EventState
    at: datetime | None = None
    until: datetime | None = None
    tier: str | None = None
    kind: Literal["retried", "snoozed"] | None = None
    attempts: int | None = None
    code: str | None = None
    reason: str | None = None
    duplicates: int = 0
    dead_letters: tuple[EventDeadLetter, ...] = ()


class EventStep(FrozenModel):
    """A step of an event; ``seconds`` have passed since the step before (None: the first)."""

    at: datetime
    step: str
    queue: str | None = None
    seconds: float | None = None


class TrackedEvent(FrozenModel):
    """An event, where it is, and what it caused.

    ``result`` is what a platform or a worker answered, where the event says it. ``time`` is the
    event's own. ``caused`` is a tree; ``is_complete`` is false where more was caused than is shown.
    """

    id: str | None
    source: str
    type: str | None
    subject: str | None = None
    time: datetime | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    accepted: tuple[EventAcceptance, ...] = ()
    queues: tuple[QueueOutcome, ...] = ()
    steps: tuple[EventStep, ...] = ()
    result: dict[str, Any] | None = None
    operation: Operation | None = None
    caused: tuple["TrackedEvent", ...] = ()
    is_complete: bool = True


class EventIndexState(FrozenModel):
    """How far the index of the event log has got; without one ``complete_until`` is None.

    What was logged later than ``complete_until`` may be missing from an answer.
    """

    complete_until: datetime | None
    lag_seconds: float | None


class EventSearchResult(FrozenModel):
    """The events that were found; ``next`` continues a list (``after``), None at its end."""

    events: tuple[TrackedEvent, ...]
    index: EventIndexState
    next: str | None = None
