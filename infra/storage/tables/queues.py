"""Tables of consumers: pauses, skipped triggers, suspected poison messages, write probes."""

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    Column,
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

from infra.storage.tables.base import TIMESTAMPTZ, metadata

# What is not worked on. A row with a code version is the queue circuit breaker's: other versions
# of the code try by themselves.
pauses = Table(
    "pauses",
    metadata,
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),  # of a queue, or of a platform
    Column("account", Text, nullable=False, server_default=text("''")),  # user id of its owner
    Column("reason", Text, nullable=False),
    Column("paused_by", Text, nullable=False),
    Column("paused_at", TIMESTAMPTZ, nullable=False, server_default=func.now()),
    Column("code_version", Text),
    PrimaryKeyConstraint("kind", "name", "account"),
    CheckConstraint("kind in ('queue', 'platform', 'account')", name="kind"),
    CheckConstraint("(kind = 'account') = (account <> '')", name="account"),
    CheckConstraint("code_version is null or kind = 'queue'", name="code_version"),
)

# Sync triggers of a paused account that a campaign's versions do not tell; they are published
# again when the account is resumed.
skipped_triggers = Table(
    "skipped_triggers",
    metadata,
    Column("queue", Text, nullable=False),
    Column("key", Uuid, nullable=False),  # 128-bit hash of source and id, as in the inbox
    Column("account", Text, nullable=False),  # user id of the campaign's owner
    Column("type", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("subject", Text, nullable=False),  # the campaign: its id here or at the platform
    Column("body", LargeBinary, nullable=False),  # the event as JSON
    Column("skipped_at", TIMESTAMPTZ, nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("queue", "key"),
    Index(None, "queue", "account"),
)

# The queues that the circuit breaker of the release before stops; the next release drops it.
stopped_queues = Table(
    "stopped_queues",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("version", Text, nullable=False),
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
