"""The pool of database sessions: how a failed connect is raised, and when sessions are renewed.

A session outlives what it was opened for: a primary that became a standby, a database that was
read-only when the session began. Its errors say so (SQLSTATE), and then it is closed, and every
other session that was opened before it is replaced before its next use.
"""

from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

# connection lost, read-only transaction, authorization, operator intervention, system error
DISCONNECT_STATES = ("08", "25006", "28", "57P", "58")
CONNECT_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class DatabaseUnreachable(ConnectionError):
    """No session could be opened, whatever the reason: no batch can be handled."""


async def connect(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - asyncpg's own
    """Open a session as ``asyncpg.connect`` does; raises ``OSError`` when there is none.

    The driver raises what the server said (a wrong password, an unknown database, too many
    sessions, a server that starts), which SQLAlchemy hands on as it is. For all callers these
    are one thing: the database is not there.
    """
    try:
        return await asyncpg.connect(*args, **options)
    except CONNECT_ERRORS as error:
        state = getattr(error, "sqlstate", None) or "none"
        raise DatabaseUnreachable(f"{type(error).__name__} (SQLSTATE {state})") from error


def replace_broken_sessions(engine: AsyncEngine) -> None:
    """Replace the sessions of ``engine`` after an error that says they are of no use."""
    event.listen(engine.sync_engine, "handle_error", _renew)


def _renew(context: ExceptionContext) -> None:
    state = str(getattr(context.original_exception, "sqlstate", None) or "")
    if state.startswith(DISCONNECT_STATES):
        context.is_disconnect = True
