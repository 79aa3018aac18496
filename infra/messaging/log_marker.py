"""Marks in Postgres how far the event log has taken effect there, for a restore from the log.

    log    settled ........ | S  unsettled  settled  unsettled ... | end
                            ^ every event before S is settled

An event is settled when the inbox has a mark of it, or a dead letter of it is filed, for each queue
that it is for. What is ready, unacknowledged, in a retry tier, snoozed, paused, or in a ``.dead``
queue has neither, however long it has been there, so it is never before S. Both are read from the
database that holds the effects, and the mark is written after they were read: a database with a
mark has every effect before S. It holds as well when the database was put back and a relay marks
again: what the database has lost is unsettled there.

Not looked at are the queues of platforms, which are not replayed: campaigns whose desired version
is newer than the synced one are found in the table of campaigns. An event that uses the id of
another one counts as settled with that one.

Each mark begins where the last one ended, so an event is read once; while the oldest unsettled
event stays, only its batch is.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing

from sqlalchemy.exc import SQLAlchemyError

from infra import metrics
from infra.amqp import topology
from infra.amqp.connection import BrokerConnection
from infra.backoff import sleep_until
from infra.errors import Outage
from infra.messaging.dead_letter import find_letter_id, read_names
from infra.messaging.decoder import hash_names
from infra.messaging.delivery import Delivery
from infra.messaging.destination_queues import find_destination_queues
from infra.messaging.event_log import LONGEST_CHUNK, LogEntry, LogStart, read_log
from infra.resources import Resources
from infra.storage.log_marks import (
    EventTrace,
    LogMark,
    find_unsettled,
    insert_mark,
    read_latest_mark,
)

INTERVAL = 10.0  # seconds
SCAN_SECONDS = 5.0  # of reading the log for a mark; the next one goes on there

log = logging.getLogger(__name__)


async def mark_log(resources: Resources, stop: asyncio.Event) -> None:
    """Write a mark every few seconds until ``stop`` is set."""
    link = BrokerConnection(resources.settings, "relay:marks")
    try:
        while not stop.is_set():
            try:
                mark = await mark_once(resources, link)
            except (Outage, SQLAlchemyError, OSError) as error:
                reason = str(error) if isinstance(error, Outage) else type(error).__name__
                log.warning("the event log is not marked", extra={"reason": reason})
            else:
                if mark is not None:
                    metrics.LOG_UNSETTLED_SECONDS.set(mark.oldest_unsettled_seconds)
            await sleep_until(stop, INTERVAL)
    finally:
        await link.close()


async def mark_once(resources: Resources, link: BrokerConnection) -> LogMark | None:
    """Write a mark; None while the log is empty. Raises ``Outage`` or what SQLAlchemy raises."""
    limit = resources.settings.broker_timeout
    end = await find_last(link, limit)
    if end is None:
        return None
    async with resources.engine.connect() as connection:
        last = await read_latest_mark(connection)
    start = 0 if last is None or is_another_log(last, end) else last.settled_offset
    settled = await _scan(resources, link, start, end)
    async with resources.engine.begin() as tx:
        return await insert_mark(tx, max(end + 1, settled), settled)


def is_another_log(mark: LogMark, last: int) -> bool:
    """Tell whether a log with an event at ``last``, in its last chunk, is not that of a mark."""
    return last + LONGEST_CHUNK < mark.end_offset


async def find_last(link: BrokerConnection, limit: float) -> int | None:
    """Find the offset of an event in the last chunk of the log; None when the log is empty.

    ``limit`` bounds each wait for the broker, in seconds. Raises ``Outage``.
    """
    async with aclosing(read_log(link, "last", timeout=limit)) as batches:
        async for batch in batches:
            return batch[-1].offset
    return None


async def _scan(resources: Resources, link: BrokerConnection, start: int, end: int) -> int:
    """Find the offset before which every event is settled, from one for which that is so."""
    if start > end:
        return start
    clock = asyncio.get_running_loop().time
    until, settled = clock() + SCAN_SECONDS, start
    begin: LogStart = start or "first"
    reading = read_log(link, begin, timeout=resources.settings.broker_timeout, until=end)
    async with aclosing(reading) as batches:
        async for batch in batches:
            unsettled = await _find_unsettled(resources, batch)
            if unsettled is not None:
                return unsettled
            settled = batch[-1].offset + 1
            if clock() > until:
                break
    return settled


async def _find_unsettled(resources: Resources, batch: Sequence[LogEntry]) -> int | None:
    """Find the offset of the first unsettled event of a batch."""
    traced = [
        (entry.offset, trace_event(queue, entry.delivery))
        for entry in batch
        for queue in find_destination_queues(entry.delivery)
        if queue in topology.DATABASE_QUEUES
    ]
    async with resources.engine.connect() as connection:
        place = await find_unsettled(connection, [trace for _, trace in traced])
    return None if place is None else traced[place][0]


def trace_event(queue: str, delivery: Delivery) -> EventTrace:
    """Tell by what it is found that ``queue`` has settled an event of the log."""
    names = read_names(delivery)
    key = None if names is None else hash_names(*names)
    return EventTrace(queue, key, find_letter_id(queue, delivery))
