"""Table of the state of the broker's topology: one row, which the relay worker writes."""

from sqlalchemy import ARRAY, CheckConstraint, Column, Integer, Table, Text, text

from infra.storage.tables.base import TIMESTAMPTZ, metadata

EMPTY = text("'{}'")

routing = Table(
    "routing",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("checked_at", TIMESTAMPTZ),
    Column("whole_at", TIMESTAMPTZ),  # when every path was complete for the last time
    Column("broken", ARRAY(Text), nullable=False, server_default=EMPTY),  # paths
    Column("missing", ARRAY(Text), nullable=False, server_default=EMPTY),  # parts, as text
    Column("known", ARRAY(Text), nullable=False, server_default=EMPTY),  # parts seen before
    Column("lost_since", TIMESTAMPTZ),  # events accepted since then may not have been routed
    Column("lost_paths", ARRAY(Text), nullable=False, server_default=EMPTY),
    CheckConstraint("id = 1", name="one_row"),
)
