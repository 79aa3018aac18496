"""Finds where the last matching entries of the event log begin.

A log is only read forwards. So windows are read from its end backwards, each larger than the one
before, and of what matches only the offsets are kept.
"""

from collections import deque
from contextlib import aclosing

from infra.amqp.connection import BrokerConnection
from infra.messaging.event_log import LONGEST_CHUNK
from infra.messaging.log_filter import LogFilter
from infra.messaging.log_range import LogRange, find_offset_at, find_range, read_range

FIRST_WINDOW = 1000  # offsets
GROWTH = 4


async def find_tail(
    connection: BrokerConnection,
    timeout: float,  # noqa: ASYNC109 - of each wait for the broker
    selected: LogFilter,
    count: int,
) -> LogRange | None:
    """Find the range from the ``count``-th matching entry from the end to the end as it is now.

    None when the log is empty. Raises ``LogAbsent`` or ``Outage``.
    """
    wanted = await find_range(connection, timeout, until=selected.until)
    if wanted is None or wanted.until is None:
        return None
    lowest = 0
    if selected.since is not None:
        lowest = await find_offset_at(connection, timeout, selected.since) or 0
    found: deque[int] = deque()
    last, window = wanted.until, max(FIRST_WINDOW, count)
    start, end = max(lowest, last - LONGEST_CHUNK - window), -1
    while True:
        offsets, first, newest = await _search(
            connection, timeout, selected, LogRange(start, last), count - len(found)
        )
        found.extendleft(reversed(offsets))
        end = max(end, newest)
        is_beginning = start <= lowest or first is None or first > start
        if len(found) >= count or is_beginning:
            return LogRange(found[0] if found else end + 1, end)
        window *= GROWTH
        start, last = max(lowest, start - window), start - 1


async def _search(
    connection: BrokerConnection,
    timeout: float,  # noqa: ASYNC109 - of each wait for the broker
    selected: LogFilter,
    window: LogRange,
    count: int,
) -> tuple[deque[int], int | None, int]:
    """Give the last matching offsets of a window, and the first and last offset in it."""
    offsets: deque[int] = deque(maxlen=count)
    first, newest = None, -1
    async with aclosing(read_range(connection, window, timeout)) as batches:
        async for entries in batches:
            first = entries[0].offset if first is None else first
            newest = entries[-1].offset
            offsets.extend(entry.offset for entry in entries if selected.matches(entry))
    return offsets, first, newest
