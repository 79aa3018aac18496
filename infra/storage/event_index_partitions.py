"""The partitions of the event index: one for each day (UTC), created ahead, dropped when old."""

import asyncio
import logging
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from events.envelope import now

PREFIX = "event_index_"
DAY_FORMAT = "%Y%m%d"
DAY = timedelta(days=1)
DROP_INTERVAL = 3600.0  # seconds between two looks for old partitions
LOCK_TIMEOUT = text("set local lock_timeout = '500ms'")  # readers wait behind a waiting lock

log = logging.getLogger(__name__)

LIST = text("""
    select c.relname from pg_inherits as i join pg_class as c on c.oid = i.inhrelid
    where i.inhparent = 'event_index'::regclass
""")


class IndexPartitions:
    """The partitions, as one process that is alone with them sees them."""

    def __init__(self, connection: AsyncConnection, age: timedelta) -> None:
        """Use ``connection``, with a transaction for each change; rows are kept for ``age``."""
        self._connection = connection
        self._age = age
        self._known: set[date] | None = None
        self._dropped_at = float("-inf")

    async def prepare(self, days: Collection[date]) -> None:
        """Create the partitions of these days, and of the day that follows the last one."""
        wanted = {*days, max(days) + DAY}
        if self._known is not None and wanted <= self._known:
            return
        async with self._connection.begin():
            await self._connection.execute(LOCK_TIMEOUT)
            known = await list_partitions(self._connection)
            for day in sorted(wanted - known):
                await create_partition(self._connection, day)
        self._known = known | wanted

    async def drop_old(self) -> None:
        """Drop the partitions of days that the log does not reach back to, once an hour.

        A reader that takes long, such as a backup, is waited for until the next time.
        """
        clock = asyncio.get_running_loop().time()
        if clock - self._dropped_at < DROP_INTERVAL:
            return
        self._dropped_at = clock
        self._known = None
        try:
            async with self._connection.begin():
                await self._connection.execute(LOCK_TIMEOUT)
                await drop_partitions(self._connection, now() - self._age)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            log.warning("old index rows are kept for now", extra={"error": type(error).__name__})


async def list_partitions(tx: AsyncConnection) -> set[date]:
    """List the days that have a partition."""
    rows = await tx.execute(LIST)
    return {_parse_day(row.relname.removeprefix(PREFIX)) for row in rows}


async def create_partition(tx: AsyncConnection, day: date) -> None:
    """Create the partition of a day; readers of the others do not wait for it."""
    name = f"{PREFIX}{day:{DAY_FORMAT}}"
    await tx.execute(text(f"create table {name} (like event_index including all)"))
    limits = f"from ('{day} 00:00:00+00') to ('{day + DAY} 00:00:00+00')"
    # SQLAlchemy takes a colon before a word for the beginning of a parameter.
    attaching = f"alter table event_index attach partition {name} for values {limits}"
    await tx.execute(text(attaching.replace(":", r"\:")))


async def drop_partitions(tx: AsyncConnection, before: datetime) -> set[date]:
    """Drop the partitions of days that ended before a time; gives the days."""
    first = before.astimezone(UTC).date()
    old = {day for day in await list_partitions(tx) if day < first}
    for day in sorted(old):
        await tx.execute(text(f"drop table {PREFIX}{day:{DAY_FORMAT}}"))
    return old


def _parse_day(name: str) -> date:
    return datetime.strptime(name, DAY_FORMAT).replace(tzinfo=UTC).date()
