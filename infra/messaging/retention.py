"""Deletes rows that were kept for long enough, in small batches, until nothing is left to delete.

A batch is a transaction of its own, whose size follows how long the one before took; afterwards
the database is left to others for as long. So a table that grows by 20,000 rows a second shrinks
by more, and no lock is held for long. Every relay does it: rows that another one holds are skipped.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import now
from infra import metrics
from infra.backoff import sleep_until
from infra.messaging.isolation import KEPT_DAYS as SUSPECT_DAYS
from infra.resources import Resources
from infra.settings import Settings
from infra.storage import expired_rows
from infra.storage.engine import describe_error
from infra.storage.event_index_partitions import list_partitions
from infra.storage.expired_rows import ExpiryRule, delete_expired_rows, find_oldest
from infra.storage.webhook_counts import WEEK

INTERVAL = 60.0  # seconds between two runs
ENDED_SESSIONS_KEPT = timedelta(days=30)
# A replay that is under way may wait in its queue when the days of its inbox mark are over.
INBOX_MARGIN = timedelta(days=1)
FIRST_BATCH, MAX_BATCH = 1000, 20_000  # rows
BATCH_SECONDS = 0.2  # what a batch should take

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long rows are kept: those that a rule is about, for ``age``."""

    rule: ExpiryRule
    age: timedelta


def retentions(settings: Settings) -> tuple[Retention, ...]:
    """List what expires, and after how long."""
    days = {
        expired_rows.HANDLED_DEAD_LETTERS: settings.dead_letter_days,
        expired_rows.HANDLED_UNRECOGNISED: settings.unrecognised_days,
        expired_rows.DEAD_LETTER_JOBS: settings.dead_letter_days,
        expired_rows.OPERATIONS: settings.operation_days,
        expired_rows.AUDIT: settings.audit_days,
        expired_rows.SUSPECTS: SUSPECT_DAYS,
        expired_rows.WAITING_EVENTS: settings.waiting_event_days,
        expired_rows.LOG_MARKS: settings.log_mark_days,
    }
    session_age = timedelta(seconds=settings.refresh_token_seconds) + ENDED_SESSIONS_KEPT
    return (
        Retention(expired_rows.INBOX, timedelta(days=settings.inbox_days) + INBOX_MARGIN),
        Retention(expired_rows.SESSIONS, session_age),
        Retention(expired_rows.WEBHOOK_HOURS, WEEK),
        *(Retention(rule, timedelta(days=number)) for rule, number in days.items()),
    )


class Deletion:
    """The deletion of one table's expired rows, batch by batch."""

    def __init__(self, engine: AsyncEngine, retention: Retention) -> None:
        """Bind the table's metrics; nothing is deleted yet."""
        self._engine = engine
        self._retention = retention
        self._limit = FIRST_BATCH
        self._deleted = metrics.RETENTION_DELETED.labels(retention.rule.name)
        self._oldest = metrics.RETENTION_OLDEST.labels(retention.rule.name)

    async def delete_batch(self, at: datetime) -> float | None:
        """Delete a batch of what has expired at ``at``.

        Returns how many seconds that took, or None when nothing is left to delete. Raises what
        SQLAlchemy raises, or ``OSError``.
        """
        loop, limit = asyncio.get_running_loop(), self._limit
        started = loop.time()
        async with self._engine.begin() as tx:
            deleted = await delete_expired_rows(
                tx, self._retention.rule, at - self._retention.age, limit
            )
        seconds = loop.time() - started
        self._deleted.inc(deleted)
        if seconds > BATCH_SECONDS:
            self._limit = max(limit // 2, FIRST_BATCH // 10)
        elif deleted == limit:
            self._limit = min(limit * 2, MAX_BATCH)
        return seconds if deleted == limit else None

    async def export_oldest(self, at: datetime) -> None:
        """Set the age of the oldest row that will expire; raises as ``delete_batch`` does."""
        async with self._engine.connect() as tx:
            oldest = await find_oldest(tx, self._retention.rule)
        self._oldest.set(0 if oldest is None else (at - oldest).total_seconds())


async def export_index_age(engine: AsyncEngine, at: datetime) -> None:
    """Set the age of the event index, to a day: the relay that writes it drops old partitions.

    Raises what SQLAlchemy raises, or ``OSError``.
    """
    async with engine.connect() as tx:
        days = await list_partitions(tx)
    start = datetime.combine(min(days), time(), UTC) if days else at
    metrics.RETENTION_OLDEST.labels("event_index").set((at - start).total_seconds())


async def delete_expired(resources: Resources, stop: asyncio.Event) -> None:
    """Delete expired rows until ``stop`` is set; nothing that is still open."""
    deletions = [
        Deletion(resources.engine, retention) for retention in retentions(resources.settings)
    ]
    while not stop.is_set():
        if await delete_all(deletions, stop):
            metrics.RETENTION_SUCCESS.set_to_current_time()
        with contextlib.suppress(SQLAlchemyError, OSError):  # the relay that indexes says so
            await export_index_age(resources.engine, now())
        await sleep_until(stop, INTERVAL)


async def delete_all(deletions: Iterable[Deletion], stop: asyncio.Event) -> bool:
    """Delete all that has expired, a batch of each table in turn; returns whether it succeeded."""
    at, pending, succeeded = now(), list(deletions), True
    while pending and not stop.is_set():
        remaining = []
        for deletion in pending:
            try:
                seconds = await deletion.delete_batch(at)
                if seconds is None:
                    await deletion.export_oldest(at)
                    continue
            except (SQLAlchemyError, OSError) as error:
                log.warning(
                    "expired rows cannot be deleted", extra={"error": describe_error(error)}
                )
                succeeded = False
                continue
            remaining.append(deletion)
            await sleep_until(stop, seconds)
            if stop.is_set():
                return False
        pending = remaining
    return succeeded
