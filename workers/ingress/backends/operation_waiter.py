"""Waits for the outcome of a write, for clients that ask for it (``Prefer: wait=N``).

All waiting requests share one query at a time: a hundred of them cost Postgres as much as one.
"""

import asyncio

from infra.background import BackgroundTasks
from infra.errors import Outage
from infra.storage.operations import find_operations
from infra.web.database import Database
from schemas.operations import Operation

Waiter = asyncio.Future[Operation | None]

POLL_INTERVAL = 0.015  # seconds between two queries
OUTAGE_POLL_INTERVAL = 0.5  # seconds, while Postgres is down
MAX_WAITERS = 1000  # operations that are waited for; further requests get 202 at once


class OperationWaiter:
    """Polls Postgres for the operations that requests wait for."""

    def __init__(self, database: Database, background: BackgroundTasks) -> None:
        """Start without waiters."""
        self._database = database
        self._background = background
        self._waiting: dict[str, set[Waiter]] = {}
        self._polling: asyncio.Task[None] | None = None

    async def wait_for(self, operation_id: str, seconds: float) -> Operation | None:
        """Return an operation once it is finished, or None after ``seconds``."""
        if seconds <= 0 or len(self._waiting) >= MAX_WAITERS:
            return None
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(operation_id, set()).add(waiter)
        if self._polling is None or self._polling.done():
            self._polling = self._background.start(self._poll(), "wait for operations")
        try:
            async with asyncio.timeout(seconds):
                return await waiter
        except TimeoutError:
            return None
        finally:
            self._remove_waiter(operation_id, waiter)

    def release_waiters(self) -> None:
        """End all waiting with None, because the process is about to end."""
        for waiter in {waiter for waiters in self._waiting.values() for waiter in waiters}:
            if not waiter.done():
                waiter.set_result(None)

    def _remove_waiter(self, operation_id: str, waiter: Waiter) -> None:
        waiters = self._waiting.get(operation_id, set())
        waiters.discard(waiter)
        if not waiters:
            self._waiting.pop(operation_id, None)

    async def _poll(self) -> None:
        while self._waiting:
            try:
                found = await self._database.read(find_operations, list(self._waiting))
            except Outage:
                await asyncio.sleep(OUTAGE_POLL_INTERVAL)
                continue
            for operation in found:
                if operation.state == "pending":
                    continue
                for waiter in self._waiting.pop(operation.id, set()):
                    if not waiter.done():
                        waiter.set_result(operation)
            await asyncio.sleep(POLL_INTERVAL)
