"""When API keys were last used: noted in memory, written to Postgres many at once.

A key is written once a minute at most, however many requests and processes use it. What
was not written yet is kept through an outage and lost with a process that is killed.
"""

import asyncio
import time
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from events.envelope import now
from infra.background import BackgroundTasks
from infra.errors import Outage
from infra.storage.api_keys import write_uses
from workers.ingress.backends.database import Database

PAUSE = 1.0  # seconds in which uses come together
MINUTE = 60  # seconds
REMEMBERED = 10_000  # keys


class Uses:
    """Keeps the latest use of each key until it is written."""

    def __init__(self, database: Database, background: BackgroundTasks) -> None:
        """Begin with nothing to write."""
        self._database = database
        self._background = background
        self._noted: dict[UUID, int] = {}  # in which minute since 1970
        self._waiting: dict[UUID, datetime] = {}
        self._writing: asyncio.Task[None] | None = None

    def note(self, key_id: UUID) -> None:
        """Note that a key is used now."""
        minute = int(time.time()) // MINUTE
        if self._noted.get(key_id) == minute:
            return
        if len(self._noted) >= REMEMBERED:
            self._noted.clear()
        self._noted[key_id] = minute
        self._waiting[key_id] = now()
        if self._writing is None or self._writing.done():
            self._writing = self._background.start(self._write_soon(), "uses of API keys")

    async def close(self) -> None:
        """Write what waits; the process is about to end."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait({self._writing})
        await self._write()

    async def _write_soon(self) -> None:
        while self._waiting:
            await asyncio.sleep(PAUSE)
            await self._write()

    async def _write(self) -> None:
        uses = dict(self._waiting)
        if not uses:
            return

        async def write(tx: AsyncConnection) -> None:
            await write_uses(tx, uses)

        try:
            await self._database.write(write)
        except Outage:
            return
        for key_id, moment in uses.items():
            if self._waiting[key_id] == moment:
                del self._waiting[key_id]
