"""Tables about events that are under way or past: waiting events, event index, log positions."""

from sqlalchemy import (
    BigInteger,
    Boolean,
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
    text,
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
# Texts are as the publisher wrote them, cut off at 255 characters.
event_index = Table(
    "event_index",
    metadata,
    Column("log_offset", BigInteger, nullable=False),  # in the stream adrelay.history
    Column("logged_at", TIMESTAMPTZ, nullable=False),
    Column("accepted_at", TIMESTAMPTZ),  # where it is known to be earlier than logged_at
    Column("occurred_at", TIMESTAMPTZ),  # the event's own time
    Column("from_outbox", Boolean, nullable=False),
    Column("door", Text, nullable=False),  # by which it was accepted
    Column("routing_key", Text, nullable=False),
    Column("type", Text),
    Column("source", Text, nullable=False),  # empty where it cannot be read
    Column("event_id", Text),  # the AMQP message id where it cannot be read
    Column("subject", Text),
    Column("correlation_id", Text),
    Column("causation_id", Text),
    Column("causation_source", Text),
    Column("campaign_id", Text),  # that the data names, where it is not the subject
    Column("result", Text),  # JSON: what a platform or a worker answered
    Index(None, "logged_at", "log_offset"),
    Index(None, "event_id", "source"),
    Index(None, "subject", "logged_at", "log_offset"),
    Index(None, "correlation_id"),
    Index(None, "causation_id"),
    Index(
        None,
        "campaign_id",
        "logged_at",
        "log_offset",
        postgresql_where=text("campaign_id is not null"),
    ),
    postgresql_partition_by="RANGE (logged_at)",
)

# How far a reader of the event log has got: the index, a replay, a restore.
log_positions = Table(
    "log_positions",
    metadata,
    Column("reader", Text, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
    Column("logged_at", TIMESTAMPTZ),  # of what was read last
    Column("fingerprint", Uuid),  # hash of what was read last: tells another log from this one
    Column("complete_until", TIMESTAMPTZ),  # everything logged before has been read
    Column("began_at", TIMESTAMPTZ),  # of a reader that comes to an end
    Column("last_offset", BigInteger),  # at which it ends
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
