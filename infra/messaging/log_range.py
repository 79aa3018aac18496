"""Reads a range of the event log, between times or offsets, and goes on after a lost connection.

A reader that waits (for a person, or for its rate) may lose its connection meanwhile; it goes on
with the next offset, so nothing comes twice and nothing is left out.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from infra.amqp.connection import BrokerConnection
from infra.backoff import Backoff
from infra.errors import Outage
from infra.messaging.event_log import BATCH, LogAbsent, LogEntry, LogStart, find_end, read_log

EMPTY_AFTER = 0.2  # seconds without a delivery after which the broker is asked whether that is all
RECONNECT_SECONDS = 60.0  # for which a lost connection is tried again
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LogRange:
    """Where to begin, and the last offset; without one a reader follows the log for ever."""

    start: LogStart
    until: int | None


async def find_range(
    connection: BrokerConnection,
    timeout: float,  # noqa: ASYNC109 - of each wait for the broker
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    from_offset: int | None = None,
) -> LogRange | None:
    """Find the range between two aware times, up to the end as it is now; None if it is empty.

    Raises ``LogAbsent`` or ``Outage``.
    """
    start: LogStart = "first" if since is None or since < EPOCH else since
    if from_offset is not None:
        start = from_offset
    end = await find_end(connection, timeout)
    if until is not None:
        after = await find_offset_at(connection, timeout, until + timedelta(seconds=1))
        end = end if after is None else after - 1
    if end is None or end < 0 or (isinstance(start, int) and start > end):
        return None
    return LogRange(start, end)


async def find_offset_at(
    connection: BrokerConnection,
    timeout: float,  # noqa: ASYNC109 - of each wait for the broker
    at: datetime,
) -> int | None:
    """Find the first offset that was written at an aware time or later, to a second.

    None when there is none yet. Raises ``LogAbsent`` or ``Outage``.
    """
    start: LogStart = "first" if at < EPOCH else at
    reading = read_log(
        connection, start, timeout=timeout, empty_after=EMPTY_AFTER, batch=1, prefetch=1
    )
    async with aclosing(reading) as batches:
        async for (entry,) in batches:
            return entry.offset
    return None


async def read_range(
    connection: BrokerConnection,
    wanted: LogRange,
    timeout: float,  # noqa: ASYNC109 - of each wait for the broker
    batch: int = BATCH,
) -> AsyncGenerator[Sequence[LogEntry], None]:
    """Give a range in batches. A connection that was lost is opened again for a minute.

    Raises ``LogAbsent`` or ``Outage``.
    """
    start, until = wanted.start, wanted.until
    empty_after = None if until is None else EMPTY_AFTER
    backoff, failing_since, is_first = Backoff(first=0.2, longest=5), time.monotonic(), True
    while True:
        reading = read_log(
            connection, start, timeout=timeout, until=until, empty_after=empty_after, batch=batch
        )
        try:
            async with aclosing(reading) as batches:
                async for entries in batches:
                    yield entries
                    start, is_first = entries[-1].offset + 1, False
                    failing_since = time.monotonic()
                    backoff.reset()
        except LogAbsent:
            raise
        except Outage:
            if is_first or time.monotonic() - failing_since > RECONNECT_SECONDS:
                raise
            await connection.close()
            await backoff.sleep()
            if until is None or not isinstance(start, int) or start <= until:
                continue
        return
