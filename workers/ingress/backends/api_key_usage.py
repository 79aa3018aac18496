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
from infra.storage.api_keys import update_last_used
from workers.ingress.backends.database import Database

WRITE_INTERVAL = 1.0  # seconds in which uses come together
SECONDS_PER_MINUTE = 60  # seconds
MAX_REMEMBERED_KEYS = 10_000  # keys


class ApiKeyUsage:
    """Keeps the latest use of each key until it is written."""

    def __init__(self, database: Database, background: BackgroundTasks) -> None:
        """Begin with nothing to write."""
        self._database = database
        self._background = background
        self._last_minutes: dict[UUID, int] = {}  # in which minute since 1970
        self._unwritten: dict[UUID, datetime] = {}
        self._writing: asyncio.Task[None] | None = None

    def record(self, key_id: UUID) -> None:
        """Note that a key is used now."""
        minute = int(time.time()) // SECONDS_PER_MINUTE
        if self._last_minutes.get(key_id) == minute:
            return
        if len(self._last_minutes) >= MAX_REMEMBERED_KEYS:
            self._last_minutes.clear()
        self._last_minutes[key_id] = minute
        self._unwritten[key_id] = now()
        if self._writing is None or self._writing.done():
            self._writing = self._background.start(self._write_repeatedly(), "uses of API keys")

    async def close(self) -> None:
        """Write what waits; the process is about to end."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait({self._writing})
        await self._write()

    async def _write_repeatedly(self) -> None:
        while self._unwritten:
            await asyncio.sleep(WRITE_INTERVAL)
            await self._write()

    async def _write(self) -> None:
        uses = dict(self._unwritten)
        if not uses:
            return

        async def write(tx: AsyncConnection) -> None:
            await update_last_used(tx, uses)

        try:
            await self._database.write(write)
        except Outage:
            return
        for key_id, moment in uses.items():
            if self._unwritten[key_id] == moment:
                del self._unwritten[key_id]
