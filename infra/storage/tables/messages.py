"""Tables of messages: inbox, outbox, dead letters."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from infra.storage.tables.base import TIMESTAMPTZ, created_at_column, metadata

inbox = Table(
    "inbox",
    metadata,
    Column("consumer", Text, nullable=False),
    Column("key", Uuid, nullable=False),  # 128-bit hash of source and id
    Column("digest", Uuid, nullable=False),  # 128-bit hash of type, subject and data
    Column("handled_at", TIMESTAMPTZ, nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("consumer", "key"),
    # A btree: the rows of a batch share a time, which it stores once, and the space of old rows is
    # used again for new ones, after which a BRIN index would exclude nothing.
    Index("inbox_expiry_idx", "handled_at"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("exchange", Text, nullable=False),
    Column("routing_key", Text, nullable=False),
    Column("ordering_key", Text),  # rows with the same key are published one by one
    Column("message_id", Text, nullable=False),
    Column("properties", JSONB, nullable=False),  # type, correlation_id, headers
    Column("body", LargeBinary, nullable=False),
    Column("leased_until", TIMESTAMPTZ, nullable=False, server_default=text("'-infinity'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),  # rejected publishes
    Column("parked_reason", Text),  # why it cannot be published; an operator has to act
    created_at_column(),
    Index(None, "message_id"),
    Index("outbox_due_idx", "id", postgresql_where=text("parked_reason is null")),
    Index(
        "outbox_ordering_key_idx",
        "ordering_key",
        "id",
        postgresql_where=text("ordering_key is not null and parked_reason is null"),
    ),
)

SEARCHED_COLUMNS = ("source", "event_id", "reason")

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Uuid, primary_key=True),  # hash of queue, message, body and replay
    Column("queue", Text, nullable=False),
    Column("routing_key", Text, nullable=False),
    Column("message_id", Text),
    Column("type", Text),
    Column("source", Text),
    Column("event_id", Text),
    Column("body", LargeBinary, nullable=False),
    Column("properties", JSONB, nullable=False),  # content_type, type, user_id, headers ...
    Column("reason", Text, nullable=False),
    Column("error_class", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("first_failed_at", TIMESTAMPTZ, nullable=False),
    Column("last_failed_at", TIMESTAMPTZ, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("replays", Integer, nullable=False, server_default=text("0")),
    Column("state", Text, nullable=False, server_default=text("'open'")),
    Column("acted_at", TIMESTAMPTZ),
    Column("acted_by", Text),
    created_at_column(),
    Column("job_id", Uuid),  # the job that changed its state last
    CheckConstraint("state in ('open', 'replayed', 'discarded')", name="state"),
    # One for each listing, in the order of the listing.
    Index(None, "first_failed_at", "id"),
    Index(None, "state", "first_failed_at", "id"),
    Index(None, "queue", "state", "first_failed_at", "id"),
    Index(None, "fingerprint", "state", "first_failed_at", "id"),
    Index(None, "event_id"),
    Index(None, "message_id"),
    # For a part of a text, in any case.
    Index(
        "dead_letters_text_idx",
        *SEARCHED_COLUMNS,
        postgresql_using="gin",
        postgresql_ops=dict.fromkeys(SEARCHED_COLUMNS, "gin_trgm_ops"),
    ),
    Index("dead_letters_handled_idx", "acted_at", postgresql_where=text("state <> 'open'")),
)
