"""Tables of campaigns, their daily metrics and operations."""

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

# Version counts every change that the API returns. A deleted campaign stays as a tombstone.
campaigns = Table(
    "campaigns",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("owner_id", Uuid),
    Column("platform", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("desired_status", Text, nullable=False),  # active or paused
    Column("budget_micros", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("targeting", JSONB, nullable=False),
    Column("platform_campaign_id", Text),
    Column("version", Integer, nullable=False),
    Column(
        "desired_version", Integer, nullable=False
    ),  # the version that last changed the desired state
    Column("synced_version", Integer, nullable=False, server_default=text("0")),
    Column("status_reported_at", TIMESTAMPTZ),
    Column("status_asked_at", TIMESTAMPTZ),  # start of the newest status check
    Column("status_answered_at", TIMESTAMPTZ),  # start of the newest check with an answer
    Column("leased_until", TIMESTAMPTZ),  # end of the lease of a sync worker
    Column("synced_at", TIMESTAMPTZ),
    Column("deleted_at", TIMESTAMPTZ),
    Column("last_command", JSONB),  # LastCommand: the newest accepted one
    created_at_column(),
    updated_at_column(),
    UniqueConstraint("platform", "platform_campaign_id"),
    Index(None, "owner_id", "created_at", "id"),
    Index(None, "created_at", "id"),
)

# The plain columns are totals; added_* is the part of them from deltas, so that reports and deltas
# may arrive in any order.
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
    Index("operations_ended_idx", "updated_at", postgresql_where=text("state <> 'pending'")),
)
