"""The pool of database sessions: timeouts, connect errors, replacement of unusable sessions.

A session may outlive the state that it was opened in: its primary became a standby, or the database
was read-only when the session began. The SQLSTATE of its next error says so; then the session is
closed, and every session that was opened before it is replaced before its next use.
"""

import time
import weakref

from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, PoolProxiedConnection, QueuePool

from infra import metrics
from infra.settings import Settings
from infra.storage.database_address import DatabaseAddress, DatabaseUnreachable
from infra.tls_errors import describe_tls_error

# Classes and codes after which a session is replaced: connection lost, read-only transaction,
# authorization, operator intervention, system error
# (https://www.postgresql.org/docs/current/errcodes-appendix.html).
DISCONNECT_STATES = ("08", "25006", "28", "57P", "58")
POOL_WAIT = metrics.DB_POOL_WAIT_SECONDS.labels()


def open_engine(settings: Settings) -> AsyncEngine:
    """Create the pool; it connects on first use.

    Connects, statements, locks and the wait for a free session time out after
    ``statement_timeout`` seconds.
    """
    address = DatabaseAddress.from_settings(settings)
    limit_ms = str(int(settings.statement_timeout * 1000))
    engine = create_async_engine(
        address.url,
        poolclass=TimedPool,
        pool_size=settings.database_pool,
        max_overflow=0,
        pool_timeout=settings.statement_timeout,
        hide_parameters=True,
        connect_args={
            "timeout": settings.statement_timeout,
            "command_timeout": settings.statement_timeout + 1,
            "server_settings": {
                "application_name": "adrelay",
                "statement_timeout": limit_ms,
                "lock_timeout": limit_ms,
                "idle_in_transaction_session_timeout": limit_ms,
            },
            "async_creator_fn": address.connect,
        },
    )
    event.listen(engine.sync_engine, "handle_error", _mark_disconnect)
    _export_pool(engine)
    return engine


class TimedPool(AsyncAdaptedQueuePool):
    """A pool whose waits are counted."""

    def connect(self) -> PoolProxiedConnection:
        """Give a session, as SQLAlchemy's pool does."""
        began = time.perf_counter()
        try:
            return super().connect()
        finally:
            POOL_WAIT.observe(time.perf_counter() - began)


def _export_pool(engine: AsyncEngine) -> None:
    """Export how many sessions are in use and idle; the pool is another one after a dispose."""
    reference = weakref.ref(engine.sync_engine)

    def read() -> tuple[int, int]:
        found = reference()
        pool = None if found is None else found.pool
        return (pool.checkedout(), pool.checkedin()) if isinstance(pool, QueuePool) else (0, 0)

    metrics.DB_POOL_CONNECTIONS.watch(engine.sync_engine, read)


def _mark_disconnect(context: ExceptionContext) -> None:
    """Let SQLAlchemy replace sessions after an error that makes them unusable."""
    state = str(getattr(context.original_exception, "sqlstate", None) or "")
    if state.startswith(DISCONNECT_STATES):
        context.is_disconnect = True


def describe_error(error: BaseException) -> str:
    """Name an error by its type and SQLSTATE, which quote no data and no address."""
    orig = getattr(error, "orig", None)
    state = getattr(orig, "sqlstate", None)
    if state is None and isinstance(error, DatabaseUnreachable):
        return f"no connection to the database: {error}"
    name = type(error).__name__ if orig is None else type(orig).__name__
    where = {"sqlalchemy": "Postgres", "redis": "Redis"}.get(type(error).__module__.split(".")[0])
    if (words := describe_tls_error(error)) is not None:
        return (f"{where}: " if where else "") + words
    return (f"{where}: " if where else "") + name + (f" (SQLSTATE {state})" if state else "")
