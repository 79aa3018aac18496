"""Writes the index of the event log, behind the traffic.

    event log -> batches -> rows and the position behind them, in one transaction

One relay writes: the one that holds a lock of Postgres. After a restart it goes on at its position.
While it lags it leaves as much time to the outbox as it takes itself.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from events.envelope import now
from infra import metrics
from infra.amqp.connection import BrokerConnection
from infra.backoff import Backoff, sleep_until
from infra.errors import Outage
from infra.messaging.authorization import internal_users
from infra.messaging.batcher import MAX_BATCH_BYTES
from infra.messaging.event_index_start import find_start, hash_message
from infra.messaging.event_log import LogEntry, read_log
from infra.messaging.event_reader import read_entry
from infra.resources import Resources
from infra.settings.rules import parse_duration
from infra.storage import event_index
from infra.storage.event_index import IndexPosition
from infra.storage.event_index_partitions import IndexPartitions

BATCH = 1000  # events
IDLE_INTERVAL = 5.0  # seconds without an event after which the index is noted as complete
STANDBY_INTERVAL = 5.0  # seconds between two looks whether another relay still writes
MAX_PAUSE = 0.5  # seconds between two batches while it lags
LOCK_KEY = 0x4144_4958  # "ADIX": of the advisory lock of the relay that writes
MAX_AGE = timedelta(days=36_500)  # of a row, whatever the setting

LOCK = text("select pg_try_advisory_lock(:key)")
UNLOCK = text("select pg_advisory_unlock(:key)")

log = logging.getLogger(__name__)


async def index_events(resources: Resources, stop: asyncio.Event) -> None:
    """Index the event log until ``stop`` is set; waits while another process does it."""
    backoff = Backoff(first=0.5, longest=30)
    while not stop.is_set():
        try:
            async with resources.engine.connect() as connection:
                await _index_with_lock(resources, connection, stop)
            backoff.reset()
        except (SQLAlchemyError, OSError, Outage) as error:
            reason = str(error) if isinstance(error, Outage) else type(error).__name__
            log.warning("the event log is not indexed", extra={"reason": reason})
            await backoff.sleep(stop)
            continue
        await sleep_until(stop, STANDBY_INTERVAL)


async def _index_with_lock(
    resources: Resources, connection: AsyncConnection, stop: asyncio.Event
) -> None:
    """Index while this session holds the lock; returns at once where another one has it."""
    async with connection.begin():
        if not (await connection.execute(LOCK, {"key": LOCK_KEY})).scalar_one():
            return
    try:
        await _EventIndexer(resources, connection, stop).run()
    finally:
        with contextlib.suppress(SQLAlchemyError, OSError):
            await connection.rollback()
            async with connection.begin():
                await connection.execute(UNLOCK, {"key": LOCK_KEY})


class _EventIndexer:
    """Writes the index while its connection holds the lock."""

    def __init__(
        self, resources: Resources, connection: AsyncConnection, stop: asyncio.Event
    ) -> None:
        self._settings = resources.settings
        self._connection = connection
        self._stop = stop
        self._internal = internal_users(resources.settings)
        self._age = min(MAX_AGE, parse_duration(resources.settings.history_max_age))
        self._partitions = IndexPartitions(connection, self._age)
        self._position: IndexPosition | None = None
        self._last_logged: datetime | None = None

    async def run(self) -> None:
        """Index until ``stop`` is set; raises ``Outage`` and what SQLAlchemy raises."""
        link = BrokerConnection(self._settings, "relay:event-index")
        try:
            async with self._connection.begin():
                self._position = await event_index.find_position(self._connection)
            start = await find_start(link, self._position, self._settings.broker_timeout)
            async with aclosing(self._read(link, start)) as batches:
                async for batch in batches:
                    await self._take(batch)
        finally:
            await link.close()

    async def _read(
        self, link: BrokerConnection, start: int
    ) -> AsyncGenerator[Sequence[LogEntry], None]:
        """Give batches until ``stop`` is set; notes meanwhile that the index is complete."""
        reading = read_log(
            link, start, timeout=self._settings.broker_timeout, empty_after=None, batch=BATCH
        )
        stopping = asyncio.ensure_future(self._stop.wait())
        async with aclosing(reading) as batches:
            coming = asyncio.ensure_future(anext(batches))
            try:
                while not self._stop.is_set():
                    await asyncio.wait(
                        {coming, stopping},
                        timeout=IDLE_INTERVAL,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    if coming.done():
                        yield coming.result()
                        coming = asyncio.ensure_future(anext(batches))
                    elif not self._stop.is_set():
                        await self._note_complete()
            finally:
                coming.cancel()
                stopping.cancel()
                await asyncio.wait({coming, stopping})

    async def _take(self, batch: Sequence[LogEntry]) -> None:
        """Write a batch, and wait as long as that took while there is more to read."""
        clock = asyncio.get_running_loop().time
        began = clock()
        size = sum(entry.delivery.weight for entry in batch)
        is_live = len(batch) < BATCH and size < MAX_BATCH_BYTES // 2
        await self._write(batch, is_live=is_live)
        if not is_live:
            await sleep_until(self._stop, min(clock() - began, MAX_PAUSE))

    async def _write(self, batch: Sequence[LogEntry], *, is_live: bool) -> None:
        at = now()
        clock = self._log_live if is_live else self._log_late
        events = [read_entry(entry, self._internal, clock) for entry in batch]
        first = at - self._age  # what is older is dropped from log and index
        events = [event for event in events if event.logged_at >= first]
        await self._partitions.drop_old()
        await self._partitions.prepare({at.date(), *(event.logged_at.date() for event in events)})
        last = batch[-1]
        position = IndexPosition(last.offset + 1, hash_message(last.delivery))
        async with self._connection.begin():
            written = await event_index.write_events(
                self._connection,
                events,
                before=None if self._position is None else self._position.next_offset,
                position=position,
                complete_until=at if is_live else self._last_logged or at,
            )
            if not written:
                raise Outage("another process has written the index")
        self._position = position
        metrics.EVENTS_INDEXED.inc(len(events))

    def _log_live(self, told: int | None, received: float) -> datetime:
        """Tell when a message was logged that comes at once: when it came.

        The log does not say it, and times of publishers have whole seconds.
        """
        if told is not None and received - told > 1:
            return self._log_late(told, received)
        return datetime.fromtimestamp(received, UTC)

    def _log_late(self, told: int | None, received: float) -> datetime:
        """Tell when a message was logged that was there before: when Adrelay published one."""
        if told is not None:
            self._last_logged = datetime.fromtimestamp(min(told, received), UTC)
        return self._last_logged or datetime.fromtimestamp(received, UTC)

    async def _note_complete(self) -> None:
        if self._position is not None:
            async with self._connection.begin():
                await event_index.mark_complete(self._connection)
