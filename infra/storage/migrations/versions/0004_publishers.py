"""Make the table of foreign publishers over AMQP.

Revision 0004, after 0003.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "publishers",
        sa.Column("broker_user", sa.Text(), nullable=False),
        sa.Column("sources", ARRAY(sa.Text()), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.func.now(),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("publishers_owner_id_fkey")),
        sa.PrimaryKeyConstraint("broker_user", name=op.f("publishers_pkey")),
    )


def downgrade() -> None:
    op.drop_table("publishers")
