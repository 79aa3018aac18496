"""Migrations of the database schema, which Alembic runs on the connection of the caller.

There is no ``alembic.ini``: settings, timeouts and secrets of the caller apply, so that they have
one source. A change of ``infra/storage/tables`` needs a new numbered script in
``versions/``; a test compares the migrated schema with the tables.

The processes of the release before work meanwhile and afterwards, so a script only adds to the
schema; what nothing reads any longer is dropped by the release after. No statement waits for a
lock for long, since everybody else would wait behind it.
"""

import asyncio
import contextlib
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

SCRIPTS = Path(__file__).resolve().parent
LOCK_KEY = 0x4144_5245  # "ADRE": of the advisory lock that lets one upgrade run at a time
LOCK = text("select pg_try_advisory_lock(:key)")
UNLOCK = text("select pg_advisory_unlock(:key)")
LOCK_INTERVAL = 0.1  # seconds between two tries
TURN_TIMEOUT = 60.0  # seconds that another upgrade is waited for
LOCK_TIMEOUT_MS = 3000  # less than STATEMENT_TIMEOUT of the processes that wait behind it
SET_TIMEOUT = text("select set_config('lock_timeout', :value, false)")


class UpgradeUnderWay(Exception):
    """Another upgrade of the same database has not ended in time."""


async def upgrade(connection: AsyncConnection, *, turn_timeout: float = TURN_TIMEOUT) -> None:
    """Upgrade the schema to its newest revision, each script in a transaction of its own.

    ``connection`` must be in no transaction. Does nothing when the schema is up to date; another
    upgrade is waited for, ``turn_timeout`` seconds at most. Raises ``UpgradeUnderWay``, or
    ``sqlalchemy.exc.DBAPIError`` when a script fails or does not get a lock (SQLSTATE 55P03): the
    scripts before it stay, and the upgrade can be repeated.
    """
    await _take_turn(connection, turn_timeout)
    try:
        await connection.execute(SET_TIMEOUT, {"value": str(LOCK_TIMEOUT_MS)})
        await connection.commit()
        await connection.run_sync(_upgrade)
        await connection.commit()
    finally:
        with contextlib.suppress(DBAPIError, OSError):  # a session that has ended holds no lock
            await connection.rollback()
            await connection.execute(UNLOCK, {"key": LOCK_KEY})
            await connection.execute(text("reset lock_timeout"))
            await connection.commit()


async def _take_turn(connection: AsyncConnection, seconds: float) -> None:
    """Take the advisory lock.

    It is tried again and again: an index that another upgrade creates concurrently would wait for
    the end of a statement that waits.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while True:
        taken = (await connection.execute(LOCK, {"key": LOCK_KEY})).scalar_one()
        await connection.commit()
        if taken:
            return
        if loop.time() > until:
            raise UpgradeUnderWay
        await asyncio.sleep(LOCK_INTERVAL)


def build_config(connection: Connection) -> Config:
    """Build the Alembic configuration that runs the scripts on ``connection``."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection) -> None:
    command.upgrade(build_config(connection), "head")


async def is_upgraded(connection: AsyncConnection) -> bool:
    """Check whether the schema is at this code's newest revision, or at one of a newer release."""
    return await connection.run_sync(_is_upgraded)


def _is_upgraded(connection: Connection) -> bool:
    if not inspect(connection).has_table("alembic_version"):
        return False
    found = connection.scalar(text("select version_num from alembic_version"))
    scripts = ScriptDirectory(str(SCRIPTS))
    known = {script.revision for script in scripts.walk_revisions()}
    return found is not None and (found == scripts.get_current_head() or found not in known)
