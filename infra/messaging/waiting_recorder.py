"""Records which events wait for a retry, in the background: settling never waits for it.

What cannot be written is dropped: the message waits all the same, and only the answer to "where is
my event?" is poorer.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import now
from infra.amqp import topology
from infra.background import BackgroundTasks
from infra.errors import Failure
from infra.messaging.batch_result import FailedDelivery
from infra.messaging.retry_policy import RetryDecision
from infra.storage.engine import describe_error
from infra.storage.waiting_events import WaitingEvent, put_waiting_events
from schemas.escaping import escape

MAX_PENDING = 10_000  # rows in memory
MAX_ROWS = 1000  # of one statement
WRITE_TIMEOUT = 10.0  # seconds
CLOSE_TIMEOUT = 1.0  # seconds
REASON_LENGTH = 500  # characters

log = logging.getLogger(__name__)


class WaitingRecorder:
    """Records the waiting events of one queue."""

    def __init__(self, queue: str, engine: AsyncEngine, background: BackgroundTasks) -> None:
        """Have nothing to write yet."""
        self._queue = queue
        self._engine = engine
        self._background = background
        self._pending: dict[UUID, WaitingEvent] = {}
        self._writing: asyncio.Task[None] | None = None

    def record(self, retries: Sequence[tuple[FailedDelivery, RetryDecision]]) -> None:
        """Write in the background that these deliveries wait from now on."""
        at = now()
        for failure, decision in retries:
            if failure.decoded is not None and len(self._pending) < MAX_PENDING:
                row = _describe(self._queue, failure, failure.decoded.key, decision, at)
                self._pending[row.key] = row
        if self._pending and (self._writing is None or self._writing.done()):
            self._writing = self._background.start(self._write(), "waiting events")

    async def close(self) -> None:
        """Give what is being written a moment to end."""
        if self._writing is not None and not self._writing.done():
            await asyncio.wait({self._writing}, timeout=CLOSE_TIMEOUT)
            self._writing.cancel()
            await asyncio.wait({self._writing})

    async def _write(self) -> None:
        """Write what is pending; what fails once is dropped."""
        while self._pending:
            keys = list(self._pending)[:MAX_ROWS]
            rows = [self._pending.pop(key) for key in keys]
            try:
                async with asyncio.timeout(WRITE_TIMEOUT), self._engine.begin() as tx:
                    await put_waiting_events(tx, rows)
            except (SQLAlchemyError, OSError) as error:
                details = {"queue": self._queue, "error": describe_error(error)}
                log.warning("waiting events are not recorded", extra=details)
                self._pending.clear()


def _describe(
    queue: str, failure: FailedDelivery, key: UUID, decision: RetryDecision, at: datetime
) -> WaitingEvent:
    error = failure.error
    if isinstance(error, Failure):
        reason, code = error.reason, error.code
    else:  # its text may quote data or secrets; its type does not
        reason, code = f"unexpected {type(error).__name__}", type(error).__name__
    return WaitingEvent(
        queue=queue,
        key=key,
        kind="snoozed" if decision.snoozed else "retried",
        tier=decision.tier,
        due_at=at + timedelta(seconds=topology.RETRY_TIERS[decision.tier]),
        reason=escape(reason, REASON_LENGTH),
        error_class=code,
        attempts=decision.attempt,
    )
