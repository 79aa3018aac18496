"""The history of the database schema: Alembic scripts, run on a connection of ours.

There is no ``alembic.ini``: the release step hands over a connection, so that settings,
timeouts and secrets have one source. A change of ``infra/tables`` comes with a new
numbered script in ``versions/``; a test compares what the scripts make with the tables.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

HERE = Path(__file__).resolve().parent

# Two releases at once take turns; the number only has to be ours alone in this database.
LOCK = 7_423_001


def upgrade(connection: Connection) -> None:
    """Bring the schema to its newest version, in the transaction of ``connection``.

    With an async engine: ``await tx.run_sync(upgrade)``. Idempotent, and safe to run twice
    at once. Raises ``sqlalchemy.exc.DBAPIError`` when a script fails; nothing of it stays.
    """
    connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    command.upgrade(configuration(connection), "head")


def configuration(connection: Connection | AsyncConnection) -> Config:
    """Make the Alembic configuration that works on ``connection``."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
