"""Make the table of sessions.

Revision 0003, after 0002. Sessions that began before it have no row and are over.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("started_at", Moment, nullable=False),
        sa.Column("last_used_at", Moment, nullable=False),
        sa.Column("turns", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("address", sa.Text()),
        sa.Column("device", sa.Text()),
        sa.Column("ended_at", Moment),
        sa.Column("ended_by", sa.Text()),
        sa.CheckConstraint(
            "(ended_at is null) = (ended_by is null)", name=op.f("sessions_ended_check")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("sessions_user_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("sessions_pkey")),
    )
    op.create_index(
        op.f("sessions_user_id_last_used_at_idx"),
        "sessions",
        ["user_id", "last_used_at"],
        postgresql_where=sa.text("ended_at is null"),
    )
    op.create_index(op.f("sessions_last_used_at_idx"), "sessions", ["last_used_at"])


def downgrade() -> None:
    op.drop_table("sessions")
