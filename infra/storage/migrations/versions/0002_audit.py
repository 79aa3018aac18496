"""Make the audit log.

Revision 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("actor", sa.Uuid()),
        sa.Column("subject", sa.Text()),
        sa.Column("address", sa.Text()),
        sa.Column("device", sa.Text()),
        sa.Column("correlation_id", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_pkey")),
    )
    op.create_index(op.f("audit_at_id_idx"), "audit", ["at", "id"])
    op.create_index(op.f("audit_actor_at_idx"), "audit", ["actor", "at"])


def downgrade() -> None:
    op.drop_table("audit")
