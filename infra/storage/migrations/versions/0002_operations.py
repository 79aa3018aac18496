"""Create the tables of waiting events, event index, log positions and pauses.

Stopped queues are copied to the pauses; ``stopped_queues`` stays for the release before.

Revision 0002.
"""

from collections.abc import Mapping

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIMESTAMPTZ = sa.DateTime(timezone=True)
NOW = sa.func.now()
TABLES = (
    "waiting_events",
    "event_index",
    "log_positions",
    "log_marks",
    "pauses",
    "skipped_triggers",
)
COPY_STOPPED_QUEUES = """
    insert into pauses (kind, name, reason, paused_by, paused_at, code_version)
    select 'queue', queue, reason, worker, stopped_at, version from stopped_queues
"""
INDEXES: Mapping[str, tuple[str, ...]] = {
    "event_index_event_id_source_idx": ("event_id", "source"),
    "event_index_subject_logged_at_log_offset_idx": ("subject", "logged_at", "log_offset"),
    "event_index_correlation_id_idx": ("correlation_id",),
    "event_index_causation_id_idx": ("causation_id",),
}


def upgrade() -> None:
    _create_waiting_events()
    _create_event_index()
    _create_log_positions()
    _create_log_marks()
    _create_pauses()
    _create_skipped_triggers()
    op.execute(COPY_STOPPED_QUEUES)


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
        sa.Column("accepted_at", TIMESTAMPTZ),
        sa.Column("occurred_at", TIMESTAMPTZ),
        sa.Column("from_outbox", sa.Boolean(), nullable=False),
        sa.Column("door", sa.Text(), nullable=False),
        sa.Column("routing_key", sa.Text(), nullable=False),
        sa.Column("type", sa.Text()),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text()),
        sa.Column("subject", sa.Text()),
        sa.Column("correlation_id", sa.Text()),
        sa.Column("causation_id", sa.Text()),
        sa.Column("causation_source", sa.Text()),
        sa.Column("campaign_id", sa.Text()),
        sa.Column("result", sa.Text()),
        postgresql_partition_by="RANGE (logged_at)",
    )
    for name, columns in INDEXES.items():
        op.create_index(op.f(name), "event_index", columns)
    op.create_index(
        op.f("event_index_campaign_id_logged_at_log_offset_idx"),
        "event_index",
        ["campaign_id", "logged_at", "log_offset"],
        postgresql_where=sa.text("campaign_id is not null"),
    )


def _create_log_positions() -> None:
    op.create_table(
        "log_positions",
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("logged_at", TIMESTAMPTZ),
        sa.Column("fingerprint", sa.Uuid()),
        sa.Column("complete_until", TIMESTAMPTZ),
        sa.Column("began_at", TIMESTAMPTZ),
        sa.Column("last_offset", sa.BigInteger()),
        sa.Column("updated_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("reader", name=op.f("log_positions_pkey")),
    )


def _create_log_marks() -> None:
    op.create_table(
        "log_marks",
        sa.Column("marked_at", TIMESTAMPTZ, nullable=False),
        sa.Column("end_offset", sa.BigInteger(), nullable=False),
        sa.Column("settled_offset", sa.BigInteger(), nullable=False),
        sa.Column("oldest_unsettled_seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("marked_at", name=op.f("log_marks_pkey")),
    )


def _create_pauses() -> None:
    op.create_table(
        "pauses",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), server_default="", nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("paused_by", sa.Text(), nullable=False),
        sa.Column("paused_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.Column("code_version", sa.Text()),
        sa.CheckConstraint(
            "kind in ('queue', 'platform', 'account')", name=op.f("pauses_kind_check")
        ),
        sa.CheckConstraint(
            "(kind = 'account') = (account <> '')", name=op.f("pauses_account_check")
        ),
        sa.CheckConstraint(
            "code_version is null or kind = 'queue'", name=op.f("pauses_code_version_check")
        ),
        sa.PrimaryKeyConstraint("kind", "name", "account", name=op.f("pauses_pkey")),
    )


def _create_skipped_triggers() -> None:
    op.create_table(
        "skipped_triggers",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("key", sa.Uuid(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("skipped_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("queue", "key", name=op.f("skipped_triggers_pkey")),
    )
    op.create_index(
        op.f("skipped_triggers_queue_account_idx"), "skipped_triggers", ["queue", "account"]
    )
