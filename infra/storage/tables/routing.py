"""What the relay knows of the paths to the queues: one row."""

from sqlalchemy import ARRAY, CheckConstraint, Column, Integer, Table, Text, text

from infra.storage.tables.base import TIMESTAMPTZ, metadata

EMPTY = text("'{}'")

routing = Table(
    "routing",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("checked_at", TIMESTAMPTZ),
    Column("whole_at", TIMESTAMPTZ),  # when every path was whole for the last time
    Column("broken", ARRAY(Text), nullable=False, server_default=EMPTY),  # paths
    Column("missing", ARRAY(Text), nullable=False, server_default=EMPTY),  # parts, in words
    Column("known", ARRAY(Text), nullable=False, server_default=EMPTY),  # parts once seen
    Column("lost_since", TIMESTAMPTZ),  # what was accepted since then may have reached nobody
    Column("lost_paths", ARRAY(Text), nullable=False, server_default=EMPTY),
    CheckConstraint("id = 1", name="one_row"),
)
