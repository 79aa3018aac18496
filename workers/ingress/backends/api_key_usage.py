"""Records when API keys were last used: collected in memory, written to Postgres in batches.

A key's time is written at most once a minute, however many requests and processes use the key.
Times that are not written yet are kept during an outage, and are lost if the process is killed.
"""

import asyncio
import time
from datetime import datetime
from uuid import UUID

from events.envelope import now
from infra.background import BackgroundTasks
from infra.errors import Outage
from infra.storage.api_keys import update_last_used
from infra.web.database import Database

WRITE_INTERVAL = 1.0  # seconds between two writes
SECONDS_PER_MINUTE = 60
MAX_REMEMBERED_KEYS = 10_000  # keys


class ApiKeyUsage:
    """Collects the last use of each API key and writes it to Postgres in the background."""

    def __init__(self, database: Database, background: BackgroundTasks) -> None:
        """Start without unwritten uses."""
        self._database = database
        self._background = background
        self._last_minutes: dict[UUID, int] = {}  # minutes since 1970
        self._unwritten: dict[UUID, datetime] = {}
        self._writing: asyncio.Task[None] | None = None

    def record(self, key_id: UUID) -> None:
        """Record that a key is used now."""
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
        """Write what is left, before the process ends."""
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
        try:
            await self._database.write(update_last_used, uses)
        except Outage:
            return
        for key_id, moment in uses.items():
            if self._unwritten[key_id] == moment:
                del self._unwritten[key_id]
