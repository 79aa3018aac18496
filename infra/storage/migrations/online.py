"""Steps of a migration that let everybody go on reading and writing a large table.

Each runs outside of a transaction, so it may be repeated when the one after it has failed: a script
that uses them does nothing else.
"""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from alembic import op

from infra.storage.migrations import LOCK_TIMEOUT_MS, SET_TIMEOUT

# Nobody waits behind one who creates an index concurrently and waits for older transactions.
PATIENT_TIMEOUT_MS = 60_000
IS_INVALID = sa.text("select not indisvalid from pg_index where indexrelid = to_regclass(:name)")


def create_index_online(
    name: str,
    table: str,
    columns: Sequence[str],
    *,
    where: str | None = None,
    using: str = "btree",
    ops: Mapping[str, str] | None = None,
) -> None:
    """Create an index concurrently, unless it is there; an invalid one is created again.

    PostgreSQL manual, "CREATE INDEX", section "Building Indexes Concurrently": one that was given
    up stays behind, invalid. Not for a partitioned table, which has no such way. ``using`` is the
    access method, ``ops`` the operator class of a column.
    """
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        connection.execute(SET_TIMEOUT, {"value": str(PATIENT_TIMEOUT_MS)})
        if connection.scalar(IS_INVALID, {"name": name}):
            _drop(name, table)
        op.create_index(
            name,
            table,
            columns,
            if_not_exists=True,
            postgresql_concurrently=True,
            postgresql_using=using,
            postgresql_ops=dict(ops or {}),
            postgresql_where=None if where is None else sa.text(where),
        )
        connection.execute(SET_TIMEOUT, {"value": str(LOCK_TIMEOUT_MS)})


def drop_index_online(name: str, table: str) -> None:
    """Drop an index concurrently, if it is there."""
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        connection.execute(SET_TIMEOUT, {"value": str(PATIENT_TIMEOUT_MS)})
        _drop(name, table)
        connection.execute(SET_TIMEOUT, {"value": str(LOCK_TIMEOUT_MS)})


def _drop(name: str, table: str) -> None:
    op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
