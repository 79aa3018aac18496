"""Make the table of the accounts that people have connected.

Revision 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "platform_accounts",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("scopes", ARRAY(sa.Text()), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.Uuid(), nullable=False),
        sa.Column("expires_at", Moment, nullable=True),
        sa.Column("due_at", Moment, nullable=True),
        sa.Column("leased_until", Moment, nullable=True),
        sa.Column("connected_at", Moment, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", Moment, server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint(
            "state in ('connected', 'disconnecting', 'disconnected')",
            name=op.f("platform_accounts_state_check"),
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("platform_accounts_user_id_fkey")
        ),
        sa.PrimaryKeyConstraint("user_id", "platform", name=op.f("platform_accounts_pkey")),
    )
    op.create_index(
        "platform_accounts_due_idx",
        "platform_accounts",
        ["due_at"],
        postgresql_where=sa.text("due_at is not null"),
    )


def downgrade() -> None:
    op.drop_table("platform_accounts")
