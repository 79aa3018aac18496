"""Tables of consumers: stopped queues, suspected poison messages, write probes."""

from sqlalchemy import ARRAY, Column, Index, Integer, PrimaryKeyConstraint, Table, Text, Uuid, text

from infra.storage.tables.base import TIMESTAMPTZ, metadata

stopped_queues = Table(
    "stopped_queues",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("version", Text, nullable=False),  # of the code that stopped it
    Column("worker", Text, nullable=False),
    Column("stopped_at", TIMESTAMPTZ, nullable=False),
)

suspects = Table(
    "suspects",
    metadata,
    Column("queue", Text, nullable=False),
    Column("key", Uuid, nullable=False),  # 128-bit hash of the message
    Column("holder", Uuid),  # the consumer that processes it
    # Former holders whose processes died: the next consumer found them as holders.
    Column("died", ARRAY(Uuid), nullable=False, server_default=text("'{}'")),
    Column("marked_at", TIMESTAMPTZ, nullable=False),
    PrimaryKeyConstraint("queue", "key"),
    Index(None, "marked_at"),
)

write_probes = Table(
    "write_probes",
    metadata,
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("written_at", TIMESTAMPTZ, nullable=False),
)
