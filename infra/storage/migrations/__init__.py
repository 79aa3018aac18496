"""Migrations of the database schema, which Alembic runs on the connection of the caller.

There is no ``alembic.ini``: settings, timeouts and secrets of the caller apply, so that they have
one source. A change of ``infra/storage/tables`` needs a new numbered script in
``versions/``; a test compares the migrated schema with the tables.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
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
