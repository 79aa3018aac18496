"""Tables of users, sessions, API keys, publishers and connected platform accounts."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
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
from sqlalchemy.dialects.postgresql import ARRAY

from infra.storage.tables.base import TIMESTAMPTZ, created_at_column, metadata, updated_at_column

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("registration_id", Uuid),  # hash of the Idempotency-Key of the registration
    created_at_column(),
    CheckConstraint("role in ('admin', 'manager', 'viewer')", name="role"),
)

# Login sessions. Redis holds the valid refresh token; this table decides whether a session ended.
sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),  # 32 hexadecimal digits
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("started_at", TIMESTAMPTZ, nullable=False),
    Column("last_used_at", TIMESTAMPTZ, nullable=False),
    Column("rotation_count", Integer, nullable=False, server_default=text("0")),  # refreshes
    Column("address", Text),
    Column("device", Text),
    Column("ended_at", TIMESTAMPTZ),
    Column("ended_by", Text),  # a schemas.sessions.SessionEndReason
    CheckConstraint("(ended_at is null) = (ended_by is null)", name="ended"),
    Index(None, "user_id", "last_used_at", postgresql_where=text("ended_at is null")),
    Index(None, "last_used_at"),
)

# Security-relevant actions; rows are never updated.
audit = Table(
    "audit",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("at", TIMESTAMPTZ, nullable=False),
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
    Column("sources", ARRAY(Text), nullable=False),  # CloudEvents sources that it may publish
    Column("expires_at", TIMESTAMPTZ),
    Column("revoked_at", TIMESTAMPTZ),
    Column("last_used_at", TIMESTAMPTZ),
    created_at_column(),
)

# Broker users outside of Adrelay and the sources that they may publish.
publishers = Table(
    "publishers",
    metadata,
    Column("broker_user", Text, primary_key=True),
    Column("sources", ARRAY(Text), nullable=False),  # CloudEvents sources
    Column("owner_id", Uuid, ForeignKey("users.id"), nullable=False),
    created_at_column(),
)

# The tokens, encrypted with the key key_id; version changes with them.
platform_accounts = Table(
    "platform_accounts",
    metadata,
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("platform", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("key_id", Text, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("version", Uuid, nullable=False),
    Column("expires_at", TIMESTAMPTZ),  # of the access token; null where the platform does not tell
    Column("due_at", TIMESTAMPTZ),  # when the auth worker has to refresh or revoke the tokens
    Column("leased_until", TIMESTAMPTZ),  # end of the lease of an auth worker
    Column("connected_at", TIMESTAMPTZ, nullable=False, server_default=func.now()),
    updated_at_column(),
    PrimaryKeyConstraint("user_id", "platform"),
    CheckConstraint("state in ('connected', 'disconnecting', 'disconnected')", name="state"),
    Index("platform_accounts_due_idx", "due_at", postgresql_where=text("due_at is not null")),
)
