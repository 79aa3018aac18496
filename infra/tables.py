"""The tables in Postgres, as SQLAlchemy Core knows them; ``migrations/`` makes them.

Times are ``timestamptz`` (UTC), money is ``bigint`` micros.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

Moment = DateTime(timezone=True)


def _created() -> Column[object]:
    return Column("created_at", Moment, nullable=False, server_default=func.now())


def _updated() -> Column[object]:
    return Column("updated_at", Moment, nullable=False, server_default=func.now())


users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    _created(),
    CheckConstraint("role in ('admin', 'manager', 'viewer')", name="role"),
)

# Who is logged in. Redis knows which refresh token is good; that a session is over is said here.
sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),  # 32 hexadecimal digits
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("last_used_at", Moment, nullable=False),
    Column("turns", Integer, nullable=False, server_default=text("0")),  # refreshes so far
    Column("address", Text),
    Column("device", Text),
    Column("ended_at", Moment),
    Column("ended_by", Text),  # why: logout, ended, reuse, password_changed, lost ...
    CheckConstraint("(ended_at is null) = (ended_by is null)", name="ended"),
    Index(None, "user_id", "last_used_at", postgresql_where=text("ended_at is null")),
    Index(None, "last_used_at"),
)

# What mattered to security; nobody changes a row.
audit = Table(
    "audit",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("actor", Uuid),
    Column("subject", Text),
    Column("address", Text),
    Column("device", Text),
    Column("correlation_id", Text),
    Index(None, "at", "id"),
    Index(None, "actor", "at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False, unique=True),  # SHA-256 of a random key
    Column("owner_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("sources", ARRAY(Text), nullable=False),  # CloudEvents sources it may speak for
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
    Column("last_used_at", Moment),
    _created(),
)

# Users of the broker that are not ours, and what they may speak for.
publishers = Table(
    "publishers",
    metadata,
    Column("broker_user", Text, primary_key=True),
    Column("sources", ARRAY(Text), nullable=False),  # CloudEvents sources
    Column("owner_id", Uuid, ForeignKey("users.id"), nullable=False),
    _created(),
)

# The tokens stand in sealed, by the vault's key key_id; version changes with them.
platform_accounts = Table(
    "platform_accounts",
    metadata,
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("platform", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("key_id", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("version", Uuid, nullable=False),
    Column("expires_at", Moment),  # of the access token; unknown where the platform does not say
    Column("due_at", Moment),  # when the auth worker has something to do: renew, revoke
    Column("leased_until", Moment),  # an auth worker is doing it
    Column("connected_at", Moment, nullable=False, server_default=func.now()),
    _updated(),
    PrimaryKeyConstraint("user_id", "platform"),
    CheckConstraint("state in ('connected', 'disconnecting', 'disconnected')", name="state"),
    Index("platform_accounts_due_idx", "due_at", postgresql_where=text("due_at is not null")),
)

# Version counts every change that the API shows. A deleted campaign stays as a tombstone.
campaigns = Table(
    "campaigns",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("owner_id", Uuid),
    Column("platform", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("wanted_status", Text, nullable=False),  # what the owner asked for: active, paused
    Column("budget_micros", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("targeting", JSONB, nullable=False),
    Column("platform_campaign_id", Text),
    Column("version", Integer, nullable=False),
    Column("wanted_version", Integer, nullable=False),  # the version that last changed the wish
    Column("synced_version", Integer, nullable=False, server_default=text("0")),
    Column("status_reported_at", Moment),
    Column("leased_until", Moment),  # a sync worker is pushing it
    Column("synced_at", Moment),
    Column("deleted_at", Moment),
    _created(),
    _updated(),
    UniqueConstraint("platform", "platform_campaign_id"),
    Index(None, "owner_id", "created_at", "id"),
    Index(None, "created_at", "id"),
)

# Totals stand in the plain columns; added_* is the part of them that came as deltas,
# so that totals and deltas may arrive in any order.
campaign_metrics = Table(
    "campaign_metrics",
    metadata,
    Column("campaign_id", Uuid, nullable=False),
    Column("date", Date, nullable=False),
    Column("impressions", BigInteger, nullable=False),
    Column("clicks", BigInteger, nullable=False),
    Column("conversions", BigInteger, nullable=False),
    Column("spend_micros", BigInteger, nullable=False),
    Column("added_impressions", BigInteger, nullable=False, server_default=text("0")),
    Column("added_clicks", BigInteger, nullable=False, server_default=text("0")),
    Column("added_conversions", BigInteger, nullable=False, server_default=text("0")),
    Column("added_spend_micros", BigInteger, nullable=False, server_default=text("0")),
    Column("reported_at", Moment),  # of the newest cumulative report
    _updated(),
    PrimaryKeyConstraint("campaign_id", "date"),
)

operations = Table(
    "operations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("result", JSONB),
    Column("error", JSONB),
    _created(),
    _updated(),
    CheckConstraint("state in ('pending', 'done', 'refused', 'dead')", name="state"),
)

inbox = Table(
    "inbox",
    metadata,
    Column("consumer", Text, nullable=False),
    Column("key", Uuid, nullable=False),  # 128-bit hash of source and id
    Column("digest", Uuid, nullable=False),  # 128-bit hash of type, subject and data
    Column("handled_at", Moment, nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("consumer", "key"),
    Index("inbox_handled_at_idx", "handled_at", postgresql_using="brin"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("exchange", Text, nullable=False),
    Column("routing_key", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("properties", JSONB, nullable=False),  # type, correlation_id, headers
    Column("body", LargeBinary, nullable=False),
    Column("leased_until", Moment, nullable=False, server_default=text("'-infinity'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("parked_reason", Text),  # why it can never be published; a person has to look
    _created(),
    Index("outbox_due_idx", "id", postgresql_where=text("parked_reason is null")),
)

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
    Column("place", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("first_failed_at", Moment, nullable=False),
    Column("last_failed_at", Moment, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("replays", Integer, nullable=False, server_default=text("0")),
    Column("state", Text, nullable=False, server_default=text("'open'")),
    Column("acted_at", Moment),
    Column("acted_by", Text),
    _created(),
    CheckConstraint("state in ('open', 'replayed', 'discarded')", name="state"),
    Index(None, "state", "queue", "created_at"),
    Index(None, "fingerprint"),
)
