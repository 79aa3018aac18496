"""Stops a queue when most of its events fail in our own code.

After a bad release, or with a permission revoked, every event would use up its retries and become
a dead letter. So when most of what a queue handles fails with an unexpected exception, or a
database error that is our own fault, over several subjects, its consumer stops: what it has in
hand returns to the queue, and a pause with the reason and the version of the code is written
(``infra.storage.pauses``): a stop.

The queue is read again when a person resumes it (``adrelay queues resume QUEUE``); another version
of the code than the one that stopped it tries at once.

Failures with a code never count, so bad input cannot stop a queue. Retries and replays do not
count either, so a few events that fail each time are not taken for many.
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.errors import UNEXPECTED, Failure, Outage
from infra.messaging.batch_result import FailedDelivery
from infra.messaging.decoder import DecodedDelivery
from infra.storage.pauses import lift_stop, stop_queue
from infra.version import code_version

MIN_EVENTS = 5  # that failed, each for the first time
MIN_SUBJECTS = 3
WINDOW_EVENTS = 200
WINDOW_SECONDS = 3600.0

log = logging.getLogger(__name__)


class QueueStopped(Exception):
    """The queue is not read any further; the message says why."""


@dataclass(frozen=True, slots=True)
class Tally:
    """A batch: how many events were handled, and which failed in our code (key -> subject)."""

    at: float  # seconds, monotonic
    handled: int
    failed: Mapping[UUID, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many events it tells about."""
        return self.handled + len(self.failed)


class Window:
    """The latest batches of a queue, up to ``WINDOW_EVENTS`` and ``WINDOW_SECONDS``."""

    def __init__(self) -> None:
        """Begin empty."""
        self._tallies: deque[Tally] = deque()
        self._count = 0

    def add(self, tally: Tally) -> str | None:
        """Add a batch; returns the reason to stop, or None."""
        self._tallies.append(tally)
        self._count += tally.count
        while self._is_over(self._tallies[0], tally.at):
            self._count -= self._tallies.popleft().count
        return self._reason() if tally.failed else None

    def clear(self) -> None:
        """Forget everything."""
        self._tallies.clear()
        self._count = 0

    def _is_over(self, oldest: Tally, at: float) -> bool:
        spare = self._count - oldest.count >= WINDOW_EVENTS
        return spare or oldest.at < at - WINDOW_SECONDS

    def _reason(self) -> str | None:
        failed = {key: s for tally in self._tallies for key, s in tally.failed.items()}
        subjects = set(failed.values())
        handled = sum(tally.handled for tally in self._tallies)
        few = len(failed) < MIN_EVENTS or len(subjects) < MIN_SUBJECTS
        if few or len(failed) <= handled:
            return None
        return (
            f"{len(failed)} events about {len(subjects)} subjects failed in our own code, "
            f"{handled} were handled"
        )


class QueueBreaker:
    """Decides when the consumer of one queue stops, and lets other code lift that."""

    def __init__(self, queue: str, engine: AsyncEngine) -> None:
        """Begin closed."""
        self.reason: str | None = None  # of a stop that is not written yet
        self._queue = queue
        self._engine = engine
        self._window = Window()
        self._trying = False

    def note(self, handled: int, failed: Sequence[FailedDelivery]) -> str | None:
        """Add the result of a batch; gives the reason to stop, or None.

        ``failed`` are the deliveries that failed, for whatever reason.
        """
        if not handled and not failed:
            return None
        unexpected = {
            failure.decoded.key: get_subject(failure.decoded)
            for failure in failed
            if failure.decoded and is_unexpected(failure.error) and _is_new(failure.decoded)
        }
        at = asyncio.get_running_loop().time()
        reason = self._window.add(Tally(at, handled, unexpected))
        if reason is None:
            return None
        classes = sorted({type(failure.error).__name__ for failure in failed if failure.decoded})
        return f"{reason}: {', '.join(classes[:5])}"

    def engage(self, reason: str) -> None:
        """Stop the queue: keep the reason here until ``write_stop`` has written it."""
        log.critical("a queue is stopped", extra={"queue": self._queue, "reason": reason})
        self.reason = reason
        self._window.clear()

    async def write_stop(self) -> bool:
        """Write a stop to Postgres; False when there is none to write. Raises ``Outage``."""
        if self.reason is None:
            return False
        about = {"version": code_version(), "worker": socket.gethostname()}
        async with _raising_outage(), self._engine.begin() as tx:
            await stop_queue(tx, self._queue, reason=self.reason, **about)
        self.reason = None
        return True

    def try_other_code(self) -> None:
        """Take note that another version of the code has stopped the queue: this one tries."""
        self._trying = True

    async def passed(self, handled: int) -> None:
        """Lift the stop when other code has handled events; raises ``Outage``."""
        if not self._trying or not handled:
            return
        self._trying = False
        async with _raising_outage(), self._engine.begin() as tx:
            lifted = await lift_stop(tx, self._queue, code_version())
        if lifted:
            log.warning("a stopped queue was resumed", extra={"queue": self._queue})


def is_unexpected(error: BaseException) -> bool:
    """Tell whether our own code failed; a failure with a code is a decision of the handler."""
    return not isinstance(error, Failure) or error.code == UNEXPECTED


def get_subject(item: DecodedDelivery) -> str:
    """Get what an event is about: its subject, or its campaign, or its own key."""
    data = getattr(item.event, "data", None)
    named = (
        getattr(item.event, "subject", None)
        or getattr(data, "campaign_id", None)
        or getattr(data, "platform_campaign_id", None)
    )
    return str(named or item.key)


def _is_new(item: DecodedDelivery) -> bool:
    return item.delivery.attempts == 0 and item.delivery.replays == 0


@asynccontextmanager
async def _raising_outage() -> AsyncIterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        reason = f"a stop of the queue cannot be written: {type(error).__name__}"
        raise Outage(reason) from error
