"""Waiting for what becomes of a write, for clients that prefer to (``Prefer: wait=N``).

All waiters share one query at a time, so a hundred of them cost Postgres no more than one.
"""

import asyncio

from sqlalchemy.ext.asyncio import AsyncConnection

from infra.background import BackgroundTasks
from infra.errors import Outage
from infra.storage.operations import find_operations
from schemas.operations import Operation
from workers.ingress.backends.database import Database

Waiter = asyncio.Future[Operation | None]

POLL_INTERVAL = 0.015  # seconds between two looks
OUTAGE_POLL_INTERVAL = 0.5
MAX_WAITERS = 1000  # waiters; more are answered at once with 202


class OperationWaiter:
    """Looks for the operations that somebody waits for."""

    def __init__(self, database: Database, background: BackgroundTasks) -> None:
        """Begin with nobody waiting."""
        self._database = database
        self._background = background
        self._waiting: dict[str, set[Waiter]] = {}
        self._polling: asyncio.Task[None] | None = None

    async def wait_for(self, operation_id: str, seconds: float) -> Operation | None:
        """Give an operation once it is no longer pending; None when that takes too long."""
        if seconds <= 0 or len(self._waiting) >= MAX_WAITERS:
            return None
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(operation_id, set()).add(waiter)
        if self._polling is None or self._polling.done():
            self._polling = self._background.start(self._poll(), "waiting for operations")
        try:
            async with asyncio.timeout(seconds):
                return await waiter
        except TimeoutError:
            return None
        finally:
            self._remove_waiter(operation_id, waiter)

    def release_waiters(self) -> None:
        """Let everybody go who waits: the process is about to end."""
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
                found = await self._database.read(self._find_finished)
            except Outage:
                await asyncio.sleep(OUTAGE_POLL_INTERVAL)
                continue
            for operation in found:
                for waiter in self._waiting.pop(operation.id, set()):
                    if not waiter.done():
                        waiter.set_result(operation)
            await asyncio.sleep(POLL_INTERVAL)

    async def _find_finished(self, tx: AsyncConnection) -> list[Operation]:
        found = await find_operations(tx, list(self._waiting))
        return [operation for operation in found if operation.state != "pending"]
