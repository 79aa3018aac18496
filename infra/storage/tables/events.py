"""Tables about events that are under way or past: waiting events, event index, log positions."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    func,
)

from infra.storage.tables.base import TIMESTAMPTZ, metadata

# Written when a consumer puts an event off; it counts while the inbox has no mark of the event.
waiting_events = Table(
    "waiting_events",
    metadata,
    Column("queue", Text, nullable=False),
    Column("key", Uuid, nullable=False),  # 128-bit hash of source and id, as in the inbox
    Column("kind", Text, nullable=False),
    Column("tier", Text, nullable=False),  # of the retry exchanges
    Column("due_at", TIMESTAMPTZ, nullable=False),  # when it returns to its queue
    Column("reason", Text, nullable=False),
    Column("error_class", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("written_at", TIMESTAMPTZ, nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("queue", "key"),
    CheckConstraint("kind in ('retried', 'snoozed')", name="kind"),
    Index(None, "key"),
    Index(None, "written_at"),
)

# One row for each message of the event log, as long as the log; a partition for each day (UTC).
event_index = Table(
    "event_index",
    metadata,
    Column("log_offset", BigInteger, nullable=False),  # in the stream adrelay.history
    Column("logged_at", TIMESTAMPTZ, nullable=False),
    Column("key", Uuid, nullable=False),  # 128-bit hash of source and id, as in the inbox
    Column("type", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("subject", Text),
    Column("correlation_id", Text),
    Column("causation_id", Text),
    Column("door", Text),  # by which it was accepted
    PrimaryKeyConstraint("logged_at", "log_offset"),
    Index(None, "key"),
    Index(None, "event_id"),
    Index(None, "subject"),
    Index(None, "correlation_id"),
    Index(None, "causation_id"),
    postgresql_partition_by="RANGE (logged_at)",
)

# How far a reader of the event log has got: the index, a replay, a restore.
log_positions = Table(
    "log_positions",
    metadata,
    Column("reader", Text, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
    Column("logged_at", TIMESTAMPTZ),  # of what was read last
    Column("updated_at", TIMESTAMPTZ, nullable=False, server_default=func.now()),
)

# Every few seconds: where the log ended, and before which offset every event was settled.
log_marks = Table(
    "log_marks",
    metadata,
    Column("marked_at", TIMESTAMPTZ, primary_key=True),
    Column("end_offset", BigInteger, nullable=False),  # of the next event
    Column("settled_offset", BigInteger, nullable=False),
    Column("oldest_unsettled_seconds", Float, nullable=False),
)
