"""Postgres as the ingress sees it: useful, and allowed to be gone at any moment.

A caller waits for ``QUERY_TIMEOUT`` seconds at most, whatever state the server is in: a query that
takes longer goes on being cancelled in the background. After a failure the database is left
alone for a moment, so that an outage costs one request in a while the wait, and the others
learn at once that they have to do without.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.errors import Outage
from infra.messaging.error_classifier import ErrorKind, classify_error
from infra.storage.write_probe import write_probe

T = TypeVar("T")
Query = Callable[[AsyncConnection], Awaitable[T]]

QUERY_TIMEOUT = 2.0  # seconds
RETRY_INTERVAL = 1.0  # seconds between tries during an outage

log = logging.getLogger(__name__)


class Database:
    """Runs queries, or says quickly that there is no database."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Begin in good faith."""
        self._engine = engine
        self._reader = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._resting_until = 0.0
        self._cancelled: set[asyncio.Task[object]] = set()

    async def read(self, query: Query[T]) -> T:
        """Run a query that changes nothing; raises ``Outage`` when Postgres is gone."""
        return await self._run_with_retry(lambda: self._read(query))

    async def write(self, query: Query[T]) -> T:
        """Run a query in a transaction and commit; raises ``Outage`` when Postgres is gone.

        Nobody knows then whether it took effect, and it may have been run twice.
        """
        return await self._run_with_retry(lambda: self._write(query))

    async def is_writable(self) -> bool:
        """Ask the database whether it takes a write: only then is it of use to store events."""
        try:
            await self._run_until(time.monotonic() + QUERY_TIMEOUT, self._write(write_probe))
        except Outage:
            return False
        return True

    async def _read(self, query: Query[T]) -> T:
        async with self._reader.connect() as tx:
            return await query(tx)

    async def _write(self, query: Query[T]) -> T:
        async with self._engine.begin() as tx:
            return await query(tx)

    async def _run_with_retry(self, run: Callable[[], Awaitable[T]]) -> T:
        """Try once more after a failure: an idle connection that died is found out by its use."""
        if time.monotonic() < self._resting_until:
            raise Outage("Postgres was gone a moment ago")
        deadline = time.monotonic() + QUERY_TIMEOUT
        again = True
        while True:
            try:
                return await self._run_until(deadline, run())
            except Outage:
                if again and time.monotonic() < deadline:
                    again = False
                    continue
                self._resting_until = time.monotonic() + RETRY_INTERVAL
                log.warning("Postgres does not answer")
                raise

    async def _run_until(self, deadline: float, running: Awaitable[T]) -> T:
        task = asyncio.ensure_future(running)
        try:
            await asyncio.wait({task}, timeout=max(0.0, deadline - time.monotonic()))
        finally:
            if not task.done():
                self._cancel(task)
        if not task.done():
            raise Outage("Postgres does not answer in time")
        try:
            return task.result()
        except Exception as error:
            if classify_error(error) in (ErrorKind.OUTAGE, ErrorKind.SUSPECTED_OUTAGE):
                raise Outage(f"Postgres is gone: {type(error).__name__}") from None
            raise

    def _cancel(self, task: "asyncio.Future[T]") -> None:
        task.cancel()
        self._cancelled.add(task)  # type: ignore[arg-type]
        task.add_done_callback(self._remove_cancelled)

    def _remove_cancelled(self, task: "asyncio.Future[T]") -> None:
        self._cancelled.discard(task)
        if not task.cancelled():
            task.exception()
