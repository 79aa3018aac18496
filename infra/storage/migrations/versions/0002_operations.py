"""Create the tables of waiting events, the event index and positions in the event log.

Revision 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIMESTAMPTZ = sa.DateTime(timezone=True)
NOW = sa.func.now()
TABLES = ("waiting_events", "event_index", "log_positions", "log_marks")
INDEXED = ("key", "event_id", "subject", "correlation_id", "causation_id")


def upgrade() -> None:
    _create_waiting_events()
    _create_event_index()
    _create_log_positions()
    _create_log_marks()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)


def _create_waiting_events() -> None:
    op.create_table(
        "waiting_events",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("key", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("due_at", TIMESTAMPTZ, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("error_class", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("written_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.CheckConstraint(
            "kind in ('retried', 'snoozed')", name=op.f("waiting_events_kind_check")
        ),
        sa.PrimaryKeyConstraint("queue", "key", name=op.f("waiting_events_pkey")),
    )
    op.create_index(op.f("waiting_events_key_idx"), "waiting_events", ["key"])
    op.create_index(op.f("waiting_events_written_at_idx"), "waiting_events", ["written_at"])


def _create_event_index() -> None:
    op.create_table(
        "event_index",
        sa.Column("log_offset", sa.BigInteger(), nullable=False),
        sa.Column("logged_at", TIMESTAMPTZ, nullable=False),
        sa.Column("key", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text()),
        sa.Column("correlation_id", sa.Text()),
        sa.Column("causation_id", sa.Text()),
        sa.Column("door", sa.Text()),
        sa.PrimaryKeyConstraint("logged_at", "log_offset", name=op.f("event_index_pkey")),
        postgresql_partition_by="RANGE (logged_at)",
    )
    for column in INDEXED:
        op.create_index(op.f(f"event_index_{column}_idx"), "event_index", [column])


def _create_log_positions() -> None:
    op.create_table(
        "log_positions",
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("logged_at", TIMESTAMPTZ),
        sa.Column("updated_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("reader", name=op.f("log_positions_pkey")),
    )


def _create_log_marks() -> None:
    op.create_table(
        "log_marks",
        sa.Column("marked_at", TIMESTAMPTZ, nullable=False),
        sa.Column("end_offset", sa.BigInteger(), nullable=False),
        sa.Column("end_time", TIMESTAMPTZ, nullable=False),
        sa.Column("oldest_unsettled_seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("marked_at", name=op.f("log_marks_pkey")),
    )
