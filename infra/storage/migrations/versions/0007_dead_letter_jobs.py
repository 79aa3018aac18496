"""Create the jobs that replay or discard many dead letters, and link letters to them.

Revision 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TIMESTAMPTZ = sa.DateTime(timezone=True)
NOW = sa.func.now()


def upgrade() -> None:
    """Create the tables; the new column is null and rewrites nothing."""
    op.add_column("dead_letters", sa.Column("job_id", sa.Uuid(), nullable=True))
    op.create_table(
        "dead_letter_jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="running", nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("letters", sa.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("applied", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("refused", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("rate", sa.Integer(), nullable=False),
        sa.Column("new_id", sa.Boolean(), nullable=False),
        sa.Column("force", sa.Boolean(), nullable=False),
        sa.Column("only_passing", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.Column("next_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.Column("ended_at", TIMESTAMPTZ, nullable=True),
        sa.Column("stopped_by", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "kind in ('replay', 'discard', 'undo')", name=op.f("dead_letter_jobs_kind_check")
        ),
        sa.CheckConstraint(
            "state in ('running', 'done', 'stopped')", name=op.f("dead_letter_jobs_state_check")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("dead_letter_jobs_pkey")),
    )
    for name, column, condition in (
        ("running", "next_at", "state = 'running'"),
        ("ended", "ended_at", "state <> 'running'"),
    ):
        op.create_index(
            f"dead_letter_jobs_{name}_idx",
            "dead_letter_jobs",
            [column],
            postgresql_where=sa.text(condition),
        )
    op.create_table(
        "dead_letter_job_failures",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("letter_id", sa.Uuid(), nullable=False),
        sa.Column("again_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["dead_letter_jobs.id"],
            name=op.f("dead_letter_job_failures_job_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("job_id", "letter_id", name=op.f("dead_letter_job_failures_pkey")),
    )


def downgrade() -> None:
    """Drop the tables and the column."""
    op.drop_table("dead_letter_job_failures")
    op.drop_table("dead_letter_jobs")
    op.drop_column("dead_letters", "job_id")
