"""What Alembic runs for every command: the scripts, on the connection it was given.

``config.attributes["connection"]`` is a ``sqlalchemy.Connection``, or the
``AsyncConnection`` around one when the command runs inside its ``run_sync``.
"""

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.tables import metadata


def run(given: Connection | AsyncConnection) -> None:
    """Run the command's scripts; the caller commits."""
    connection = given.sync_connection if isinstance(given, AsyncConnection) else given
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
