"""Tables of webhooks: what the ingress has counted, in all and by hour."""

from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, Table, Text

from infra.storage.tables.base import TIMESTAMPTZ, metadata

# A counter is one of those of ``infra.metrics``: outcome, slot, skew, bad_signature.
webhook_totals = Table(
    "webhook_totals",
    metadata,
    Column("source", Text, nullable=False),
    Column("counter", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("webhooks", BigInteger, nullable=False),
    Column("last_at", TIMESTAMPTZ),  # of the newest webhook
    Column("address", Text),  # of the newest sender, where it is known
    PrimaryKeyConstraint("source", "counter", "label"),
)

webhook_hours = Table(
    "webhook_hours",
    metadata,
    Column("source", Text, nullable=False),
    Column("counter", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("hour", TIMESTAMPTZ, nullable=False),  # begins so (UTC)
    Column("webhooks", BigInteger, nullable=False),
    PrimaryKeyConstraint("source", "counter", "label", "hour"),
)
