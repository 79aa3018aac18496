"""Create what the ingress counts of webhooks, in all and by hour.

Revision 0006.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TIMESTAMPTZ = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "webhook_totals",
        *_key_columns(),
        sa.Column("webhooks", sa.BigInteger(), nullable=False),
        sa.Column("last_at", TIMESTAMPTZ),
        sa.Column("address", sa.Text()),
        sa.PrimaryKeyConstraint("source", "counter", "label", name=op.f("webhook_totals_pkey")),
    )
    op.create_table(
        "webhook_hours",
        *_key_columns(),
        sa.Column("hour", TIMESTAMPTZ, nullable=False),
        sa.Column("webhooks", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "source", "counter", "label", "hour", name=op.f("webhook_hours_pkey")
        ),
    )


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("webhook_hours")
    op.drop_table("webhook_totals")


def _key_columns() -> tuple[sa.Column[str], ...]:
    return (
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("counter", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
    )
