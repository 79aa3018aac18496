"""Keeps the registered publishers in memory, read again at most once a second."""

import asyncio
from collections.abc import Mapping

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.errors import Outage
from infra.storage.publishers import RegisteredPublisher, list_publishers

MAX_AGE = 1.0  # seconds after which the table is read again


class PublisherRegistry:
    """The registered publishers, at most ``MAX_AGE`` old."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Read nothing yet."""
        self._engine = engine
        self._lock = asyncio.Lock()
        self._read_at = float("-inf")
        self._publishers: Mapping[str, RegisteredPublisher] = {}

    async def current(self) -> Mapping[str, RegisteredPublisher]:
        """Give the publishers by broker user; raises ``Outage`` while they cannot be read."""
        clock = asyncio.get_running_loop().time
        async with self._lock:
            if clock() - self._read_at >= MAX_AGE:
                began = clock()
                try:
                    async with self._engine.connect() as connection:
                        self._publishers = await list_publishers(connection)
                except (SQLAlchemyError, OSError) as error:
                    raise Outage("the registered publishers cannot be read") from error
                self._read_at = began
            return self._publishers
