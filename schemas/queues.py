"""Queues and pauses as the API returns them."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import StringConstraints

from schemas.types import FrozenModel

# reading: consumed; unread: nobody consumes it; paused: by a person, itself or its platform;
# stopped: by the queue circuit breaker; unknown: the broker's counts are missing.
QueueState = Literal["reading", "unread", "paused", "stopped", "unknown"]


class PauseSummary(FrozenModel):
    """A pause: why, by whom, since when (UTC); ``code_version`` if the circuit breaker did it."""

    kind: Literal["queue", "platform", "account"]
    name: str
    account: str | None = None
    reason: str
    paused_by: str
    paused_at: datetime
    code_version: str | None = None


class QueueSummary(FrozenModel):
    """A queue with its state, and the pause or stop that keeps it from being read.

    ``ready`` messages wait in it, ``retrying`` in the retry tiers, ``dead`` dead letters are
    open. Counts are None where they are not known.
    """

    name: str
    state: QueueState
    pause: PauseSummary | None = None
    ready: int | None = None
    consumers: int | None = None
    retrying: int
    dead: int


class QueueOverview(FrozenModel):
    """All queues, and the pauses of platforms and accounts.

    ``counted_at`` is when the broker was asked for the messages and consumers (UTC).
    """

    counted_at: datetime | None = None
    queues: tuple[QueueSummary, ...]
    pauses: tuple[PauseSummary, ...]


class PauseRequest(FrozenModel):
    """The request to pause a queue."""

    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class PlatformPauseRequest(PauseRequest):
    """The request to pause a platform, or the account of one user there (its id)."""

    account: UUID | None = None


class PlatformResumeRequest(FrozenModel):
    """The request to resume a platform, or the account of one user there (its id)."""

    account: UUID | None = None


class PauseResult(FrozenModel):
    """What was paused or resumed; ``changed`` is false if it was so before.

    ``pause`` is the pause that holds now.
    """

    kind: Literal["queue", "platform", "account"]
    name: str
    account: str | None = None
    changed: bool
    pause: PauseSummary | None = None
