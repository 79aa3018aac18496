"""Reads single messages of the event log for pages, on one connection that comes back."""

import asyncio
from contextlib import aclosing

from infra.amqp.connection import BrokerConnection
from infra.errors import Outage
from infra.messaging.event_log import LogEntry
from infra.messaging.log_range import LogRange, read_range
from infra.settings import Settings

READ_TIMEOUT = 3.0  # seconds
MAX_READERS = 4  # at a time: each holds a chunk of the log in memory


class LogReader:
    """Reads one message at a time by its offset."""

    def __init__(self, settings: Settings, name: str) -> None:
        """Connect with the broker user of ``settings`` when a message is read."""
        self._link = BrokerConnection(settings, f"{name}:log")
        self._timeout = settings.broker_timeout
        self._places = asyncio.Semaphore(MAX_READERS)

    async def read(self, offset: int) -> LogEntry | None:
        """Read the message with this offset; None where the log has it no longer.

        Raises ``Outage`` (``LogAbsent`` without a log).
        """
        try:
            async with asyncio.timeout(READ_TIMEOUT), self._places:
                wanted = LogRange(offset, offset)
                async with aclosing(read_range(self._link, wanted, self._timeout)) as batches:
                    async for entries in batches:
                        return next((one for one in entries if one.offset == offset), None)
        except TimeoutError:
            raise Outage("the event log does not answer in time") from None
        return None

    async def close(self) -> None:
        """Close the connection."""
        await self._link.close()
