"""Create the tables.

Revision 0001, the first one.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIMESTAMPTZ = sa.DateTime(timezone=True)
NOW = sa.func.now()
ZERO = sa.text("0")
EMPTY_ARRAY = sa.text("'{}'")

TABLES = (
    "users",
    "api_keys",
    "publishers",
    "sessions",
    "audit",
    "platform_accounts",
    "campaigns",
    "campaign_metrics",
    "operations",
    "inbox",
    "outbox",
    "dead_letters",
    "stopped_queues",
    "suspects",
    "write_probes",
    "routing",
)


def upgrade() -> None:
    _create_users()
    _create_api_keys()
    _create_publishers()
    _create_sessions()
    _create_audit()
    _create_platform_accounts()
    _create_campaigns()
    _create_campaign_metrics()
    _create_operations()
    _create_inbox()
    _create_outbox()
    _create_dead_letters()
    _create_stopped_queues()
    _create_suspects()
    _create_write_probes()
    _create_routing()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)


def _create_users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("registration_id", sa.Uuid()),
        sa.Column("created_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.CheckConstraint("role in ('admin', 'manager', 'viewer')", name=op.f("users_role_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("users_pkey")),
        sa.UniqueConstraint("email", name=op.f("users_email_key")),
    )


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("scopes", ARRAY(sa.Text()), nullable=False),
        sa.Column("sources", ARRAY(sa.Text()), nullable=False),
        sa.Column("expires_at", TIMESTAMPTZ),
        sa.Column("revoked_at", TIMESTAMPTZ),
        sa.Column("last_used_at", TIMESTAMPTZ),
        sa.Column("created_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("api_keys_owner_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("api_keys_pkey")),
        sa.UniqueConstraint("key_hash", name=op.f("api_keys_key_hash_key")),
    )


def _create_publishers() -> None:
    op.create_table(
        "publishers",
        sa.Column("broker_user", sa.Text(), nullable=False),
        sa.Column("sources", ARRAY(sa.Text()), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("publishers_owner_id_fkey")),
        sa.PrimaryKeyConstraint("broker_user", name=op.f("publishers_pkey")),
    )


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("started_at", TIMESTAMPTZ, nullable=False),
        sa.Column("last_used_at", TIMESTAMPTZ, nullable=False),
        sa.Column("rotation_count", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("address", sa.Text()),
        sa.Column("device", sa.Text()),
        sa.Column("ended_at", TIMESTAMPTZ),
        sa.Column("ended_by", sa.Text()),
        sa.CheckConstraint(
            "(ended_at is null) = (ended_by is null)", name=op.f("sessions_ended_check")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("sessions_user_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("sessions_pkey")),
    )
    op.create_index(op.f("sessions_last_used_at_idx"), "sessions", ["last_used_at"])
    op.create_index(
        op.f("sessions_user_id_last_used_at_idx"),
        "sessions",
        ["user_id", "last_used_at"],
        postgresql_where=sa.text("ended_at is null"),
    )


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", TIMESTAMPTZ, nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("actor", sa.Uuid()),
        sa.Column("subject", sa.Text()),
        sa.Column("address", sa.Text()),
        sa.Column("device", sa.Text()),
        sa.Column("correlation_id", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_pkey")),
    )
    op.create_index(op.f("audit_actor_at_idx"), "audit", ["actor", "at"])
    op.create_index(op.f("audit_at_id_idx"), "audit", ["at", "id"])


def _create_platform_accounts() -> None:
    op.create_table(
        "platform_accounts",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("scopes", ARRAY(sa.Text()), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.Uuid(), nullable=False),
        sa.Column("expires_at", TIMESTAMPTZ),
        sa.Column("due_at", TIMESTAMPTZ),
        sa.Column("leased_until", TIMESTAMPTZ),
        sa.Column("connected_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.Column("updated_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
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


def _create_campaigns() -> None:
    op.create_table(
        "campaigns",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid()),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("desired_status", sa.Text(), nullable=False),
        sa.Column("budget_micros", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("targeting", JSONB(), nullable=False),
        sa.Column("platform_campaign_id", sa.Text()),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("desired_version", sa.Integer(), nullable=False),
        sa.Column("synced_version", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("status_reported_at", TIMESTAMPTZ),
        sa.Column("status_asked_at", TIMESTAMPTZ),
        sa.Column("status_answered_at", TIMESTAMPTZ),
        sa.Column("leased_until", TIMESTAMPTZ),
        sa.Column("synced_at", TIMESTAMPTZ),
        sa.Column("deleted_at", TIMESTAMPTZ),
        sa.Column("last_command", JSONB()),
        sa.Column("created_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.Column("updated_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("campaigns_pkey")),
        sa.UniqueConstraint(
            "platform",
            "platform_campaign_id",
            name=op.f("campaigns_platform_platform_campaign_id_key"),
        ),
    )
    op.create_index(op.f("campaigns_created_at_id_idx"), "campaigns", ["created_at", "id"])
    op.create_index(
        op.f("campaigns_owner_id_created_at_id_idx"), "campaigns", ["owner_id", "created_at", "id"]
    )


def _create_campaign_metrics() -> None:
    op.create_table(
        "campaign_metrics",
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("impressions", sa.BigInteger(), nullable=False),
        sa.Column("clicks", sa.BigInteger(), nullable=False),
        sa.Column("conversions", sa.BigInteger(), nullable=False),
        sa.Column("spend_micros", sa.BigInteger(), nullable=False),
        sa.Column("added_impressions", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("added_clicks", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("added_conversions", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("added_spend_micros", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("reported_at", TIMESTAMPTZ),
        sa.Column("updated_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "date", name=op.f("campaign_metrics_pkey")),
    )


def _create_operations() -> None:
    op.create_table(
        "operations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("result", JSONB()),
        sa.Column("error", JSONB()),
        sa.Column("created_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.Column("updated_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.CheckConstraint(
            "state in ('pending', 'done', 'refused', 'dead')", name=op.f("operations_state_check")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("operations_pkey")),
    )
    op.create_index(
        "operations_updated_at_idx", "operations", ["updated_at"], postgresql_using="brin"
    )


def _create_inbox() -> None:
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("key", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.Uuid(), nullable=False),
        sa.Column("handled_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("consumer", "key", name=op.f("inbox_pkey")),
    )
    op.create_index("inbox_handled_at_idx", "inbox", ["handled_at"], postgresql_using="brin")


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("routing_key", sa.Text(), nullable=False),
        sa.Column("ordering_key", sa.Text()),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("properties", JSONB(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column(
            "leased_until", TIMESTAMPTZ, server_default=sa.text("'-infinity'"), nullable=False
        ),
        sa.Column("attempts", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("parked_reason", sa.Text()),
        sa.Column("created_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("outbox_pkey")),
    )
    op.create_index(
        "outbox_due_idx", "outbox", ["id"], postgresql_where=sa.text("parked_reason is null")
    )
    op.create_index(
        "outbox_ordering_key_idx",
        "outbox",
        ["ordering_key", "id"],
        postgresql_where=sa.text("ordering_key is not null and parked_reason is null"),
    )


def _create_dead_letters() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("routing_key", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text()),
        sa.Column("type", sa.Text()),
        sa.Column("source", sa.Text()),
        sa.Column("event_id", sa.Text()),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("properties", JSONB(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("error_class", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("first_failed_at", TIMESTAMPTZ, nullable=False),
        sa.Column("last_failed_at", TIMESTAMPTZ, nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("replays", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'open'"), nullable=False),
        sa.Column("acted_at", TIMESTAMPTZ),
        sa.Column("acted_by", sa.Text()),
        sa.Column("created_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.CheckConstraint(
            "state in ('open', 'replayed', 'discarded')", name=op.f("dead_letters_state_check")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("dead_letters_pkey")),
    )
    op.create_index(
        op.f("dead_letters_fingerprint_state_first_failed_at_id_idx"),
        "dead_letters",
        ["fingerprint", "state", "first_failed_at", "id"],
    )
    op.create_index(
        op.f("dead_letters_first_failed_at_id_idx"), "dead_letters", ["first_failed_at", "id"]
    )
    op.create_index(
        "dead_letters_handled_idx",
        "dead_letters",
        ["acted_at"],
        postgresql_where=sa.text("state <> 'open'"),
    )
    op.create_index(
        op.f("dead_letters_queue_state_first_failed_at_id_idx"),
        "dead_letters",
        ["queue", "state", "first_failed_at", "id"],
    )
    op.create_index(
        op.f("dead_letters_state_first_failed_at_id_idx"),
        "dead_letters",
        ["state", "first_failed_at", "id"],
    )


def _create_stopped_queues() -> None:
    op.create_table(
        "stopped_queues",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("stopped_at", TIMESTAMPTZ, nullable=False),
        sa.PrimaryKeyConstraint("queue", name=op.f("stopped_queues_pkey")),
    )


def _create_suspects() -> None:
    op.create_table(
        "suspects",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("key", sa.Uuid(), nullable=False),
        sa.Column("holder", sa.Uuid()),
        sa.Column("died", ARRAY(sa.Uuid()), server_default=EMPTY_ARRAY, nullable=False),
        sa.Column("marked_at", TIMESTAMPTZ, nullable=False),
        sa.PrimaryKeyConstraint("queue", "key", name=op.f("suspects_pkey")),
    )
    op.create_index(op.f("suspects_marked_at_idx"), "suspects", ["marked_at"])


def _create_write_probes() -> None:
    op.create_table(
        "write_probes",
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("written_at", TIMESTAMPTZ, nullable=False),
        sa.PrimaryKeyConstraint("slot", name=op.f("write_probes_pkey")),
    )


def _create_routing() -> None:
    op.create_table(
        "routing",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("checked_at", TIMESTAMPTZ),
        sa.Column("whole_at", TIMESTAMPTZ),
        sa.Column("broken", ARRAY(sa.Text()), server_default=EMPTY_ARRAY, nullable=False),
        sa.Column("missing", ARRAY(sa.Text()), server_default=EMPTY_ARRAY, nullable=False),
        sa.Column("known", ARRAY(sa.Text()), server_default=EMPTY_ARRAY, nullable=False),
        sa.Column("lost_since", TIMESTAMPTZ),
        sa.Column("lost_paths", ARRAY(sa.Text()), server_default=EMPTY_ARRAY, nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("routing_one_row_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("routing_pkey")),
    )
