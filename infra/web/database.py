"""Runs queries on Postgres for a process that keeps serving HTTP while Postgres is down.

A caller waits ``QUERY_TIMEOUT`` seconds, whatever state the server is in, and ``PROBE_TIMEOUT``
more to learn whether the server answers at all; a query that takes longer is cancelled in the
background. One slow query on a server that answers concerns nobody else; a pool that slow queries
fill is an outage, since nobody else gets a session. After an outage no query starts for
``RETRY_INTERVAL`` seconds: one request per interval waits for the timeout, and the others fail at
once.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.backoff import Cooldown
from infra.errors import Outage
from infra.messaging.error_classifier import ErrorKind, classify_error
from infra.storage.write_probe import write_probe

P = ParamSpec("P")
T = TypeVar("T")
Query = Callable[Concatenate[AsyncConnection, P], Awaitable[T]]  # arguments after the connection

QUERY_TIMEOUT = 2.0  # seconds
PROBE_TIMEOUT = 0.5  # seconds
RETRY_INTERVAL = 1.0  # seconds between attempts during an outage

PROBE = text("select 1")

log = logging.getLogger(__name__)


class SlowQuery(Outage):
    """A query took longer than ``QUERY_TIMEOUT`` on a server that answers others."""


class QueryConflict(Outage):
    """A query was rolled back twice because of others: a deadlock, a lock, a changed table."""


class Database:
    """Runs queries with a time limit; fails fast during an outage."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Use connections of ``engine``; reads run in autocommit mode."""
        self._engine = engine
        self._reader = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._cooldown = Cooldown(RETRY_INTERVAL)
        self._cancelled: set[asyncio.Task[object]] = set()

    async def read(self, query: Query[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``query(connection, *args, **kwargs)``, which changes nothing.

        Raises ``Outage`` when Postgres is down, ``SlowQuery`` when the query takes too long,
        ``QueryConflict`` when others stand in its way twice.
        """
        return await self._run_with_retry(lambda: self._read(query, *args, **kwargs))

    async def write(self, query: Query[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``query(connection, *args, **kwargs)`` in a transaction and commit it.

        Raises ``Outage`` when Postgres is down and ``SlowQuery`` when the query takes too long;
        the transaction may have taken effect then. Raises ``QueryConflict`` when others stand in
        its way twice; nothing was changed then. The query may run twice.
        """
        return await self._run_with_retry(lambda: self._write(query, *args, **kwargs))

    async def is_writable(self) -> bool:
        """Whether the database accepts writes, which the outbox needs."""
        try:
            await self._run_until(time.monotonic() + QUERY_TIMEOUT, self._write(write_probe))
        except Outage:
            return False
        return True

    async def _read(self, query: Query[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._reader.connect() as tx:
            return await query(tx, *args, **kwargs)

    async def _write(self, query: Query[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._engine.begin() as tx:
            return await query(tx, *args, **kwargs)

    async def _run_with_retry(self, run: Callable[[], Awaitable[T]]) -> T:
        """Run again after one failure: a dead idle connection is detected only by using it.

        After a conflict the same query may succeed at once.
        """
        if self._cooldown.remaining > 0:
            raise Outage("Postgres was unavailable a moment ago")
        deadline = time.monotonic() + QUERY_TIMEOUT
        retry = True
        while True:
            try:
                return await self._run_until(deadline, run())
            except QueryConflict:
                if not retry:
                    raise
                retry = False
            except Outage:
                is_late = time.monotonic() >= deadline
                if retry and not is_late:
                    retry = False
                    continue
                if is_late and await self._answers():
                    log.warning("a query was cancelled after %g s", QUERY_TIMEOUT)
                    raise SlowQuery(f"the query took longer than {QUERY_TIMEOUT:g} s") from None
                self._cooldown.start()
                log.warning("Postgres is unavailable")
                raise

    async def _answers(self) -> bool:
        """Tell whether the server answers anything at all."""
        try:
            await self._run_until(time.monotonic() + PROBE_TIMEOUT, self._read(_probe))
        except Outage:
            return False
        return True

    async def _run_until(self, deadline: float, running: Awaitable[T]) -> T:
        task = asyncio.ensure_future(running)
        try:
            await asyncio.wait({task}, timeout=max(0.0, deadline - time.monotonic()))
        finally:
            if not task.done():
                self._cancel(task)
        if not task.done():
            raise Outage("Postgres did not answer in time")
        try:
            return task.result()
        except Exception as error:
            match classify_error(error):
                case ErrorKind.OUTAGE | ErrorKind.SUSPECTED_OUTAGE:
                    raise Outage(f"Postgres is unavailable: {type(error).__name__}") from None
                case ErrorKind.CONFLICT:
                    raise QueryConflict(f"a conflict: {type(error).__name__}") from None
            raise

    def _cancel(self, task: "asyncio.Future[T]") -> None:
        task.cancel()
        self._cancelled.add(task)  # type: ignore[arg-type]
        task.add_done_callback(self._remove_cancelled)

    def _remove_cancelled(self, task: "asyncio.Future[T]") -> None:
        self._cancelled.discard(task)
        if not task.cancelled():
            task.exception()


async def _probe(tx: AsyncConnection) -> None:
    await tx.execute(PROBE)
