"""Runs the scripts of an Alembic command on the connection that the caller has passed.

The asyncio recipe of Alembic's cookbook ("Programmatic API use with asyncio"): the caller is
inside ``AsyncConnection.run_sync``, and ``attributes["connection"]`` is the ``Connection`` there.
"""

from alembic import context
from sqlalchemy import Connection

from infra.storage.tables import metadata


def run_migrations(connection: Connection) -> None:
    """Run the scripts, each in a transaction of its own."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run_migrations(context.config.attributes["connection"])
