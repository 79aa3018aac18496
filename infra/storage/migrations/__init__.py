"""Migrations of the database schema, which Alembic runs on the connection of the caller.

There is no ``alembic.ini``: settings, timeouts and secrets of the caller apply, so that they have
one source. A change of ``infra/storage/tables`` needs a new numbered script in
``versions/``; a test compares the migrated schema with the tables.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

SCRIPTS = Path(__file__).resolve().parent
LOCK_KEY = 0x4144_5245  # "ADRE": of the advisory lock that lets one upgrade run at a time
LOCK = text("select pg_advisory_xact_lock(:key)")


async def upgrade(tx: AsyncConnection) -> None:
    """Upgrade the schema to its newest revision in the transaction of ``tx``.

    Does nothing when the schema is up to date; concurrent upgrades wait for each other. Raises
    ``sqlalchemy.exc.DBAPIError`` when a script fails; the transaction then has to be rolled back.
    """
    await tx.execute(LOCK, {"key": LOCK_KEY})
    await tx.run_sync(_upgrade)


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
