"""What the business is about: campaigns, their figures, operations."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from infra.storage.tables.base import TIMESTAMPTZ, created_at_column, metadata, updated_at_column

# Version counts every change that the API shows. A deleted campaign stays as a tombstone.
campaigns = Table(
    "campaigns",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("owner_id", Uuid),
    Column("platform", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("desired_status", Text, nullable=False),  # what the owner asked for: active, paused
    Column("budget_micros", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("targeting", JSONB, nullable=False),
    Column("platform_campaign_id", Text),
    Column("version", Integer, nullable=False),
    Column("desired_version", Integer, nullable=False),  # the version that last changed the wish
    Column("synced_version", Integer, nullable=False, server_default=text("0")),
    Column("status_reported_at", TIMESTAMPTZ),
    Column("status_asked_at", TIMESTAMPTZ),  # its platform was asked for the status
    Column("status_answered_at", TIMESTAMPTZ),  # when the question was asked that has an answer
    Column("leased_until", TIMESTAMPTZ),  # a sync worker is pushing it
    Column("synced_at", TIMESTAMPTZ),
    Column("deleted_at", TIMESTAMPTZ),
    Column("last_command", JSONB),  # the newest that was granted: id, source, type, times, version
    created_at_column(),
    updated_at_column(),
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
    Column("reported_at", TIMESTAMPTZ),  # of the newest cumulative report
    updated_at_column(),
    PrimaryKeyConstraint("campaign_id", "date"),
)

operations = Table(
    "operations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("result", JSONB),
    Column("error", JSONB),
    created_at_column(),
    updated_at_column(),
    CheckConstraint("state in ('pending', 'done', 'refused', 'dead')", name="state"),
    Index("operations_updated_at_idx", "updated_at", postgresql_using="brin"),
)
