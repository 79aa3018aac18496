"""Make every table of the first release.

Revision 0001, nothing before it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_users()
    _create_api_keys()
    _create_campaigns()
    _create_campaign_metrics()
    _create_operations()
    _create_inbox()
    _create_outbox()
    _create_dead_letters()


def downgrade() -> None:
    for table in (
        "dead_letters",
        "outbox",
        "inbox",
        "operations",
        "campaign_metrics",
        "campaigns",
        "api_keys",
        "users",
    ):
        op.drop_table(table)


def _create_users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", Moment, server_default=sa.func.now(), nullable=False),
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
        sa.Column("expires_at", Moment),
        sa.Column("revoked_at", Moment),
        sa.Column("last_used_at", Moment),
        sa.Column("created_at", Moment, server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("api_keys_owner_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("api_keys_pkey")),
        sa.UniqueConstraint("key_hash", name=op.f("api_keys_key_hash_key")),
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
        sa.Column("synced_version", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("status_reported_at", Moment),
        sa.Column("leased_until", Moment),
        sa.Column("synced_at", Moment),
        sa.Column("deleted_at", Moment),
        sa.Column("created_at", Moment, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", Moment, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("campaigns_pkey")),
        sa.UniqueConstraint(
            "platform",
            "platform_campaign_id",
            name=op.f("campaigns_platform_platform_campaign_id_key"),
        ),
    )
    op.create_index(
        op.f("campaigns_created_at_id_idx"), "campaigns", ["created_at", "id"], unique=False
    )
    op.create_index(
        op.f("campaigns_owner_id_created_at_id_idx"),
        "campaigns",
        ["owner_id", "created_at", "id"],
        unique=False,
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
        sa.Column(
            "added_impressions", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column("added_clicks", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "added_conversions", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column(
            "added_spend_micros", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column("reported_at", Moment),
        sa.Column("updated_at", Moment, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "date", name=op.f("campaign_metrics_pkey")),
    )


def _create_operations() -> None:
    op.create_table(
        "operations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("result", JSONB()),
        sa.Column("error", JSONB()),
        sa.Column("created_at", Moment, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", Moment, server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint(
            "state in ('pending', 'done', 'refused', 'dead')", name=op.f("operations_state_check")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("operations_pkey")),
    )


def _create_inbox() -> None:
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("key", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.Uuid(), nullable=False),
        sa.Column("handled_at", Moment, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("consumer", "key", name=op.f("inbox_pkey")),
    )
    op.create_index(
        "inbox_handled_at_idx", "inbox", ["handled_at"], unique=False, postgresql_using="brin"
    )


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("routing_key", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("properties", JSONB(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("leased_until", Moment, server_default=sa.text("'-infinity'"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("parked_reason", sa.Text()),
        sa.Column("created_at", Moment, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("outbox_pkey")),
    )
    op.create_index(
        "outbox_due_idx",
        "outbox",
        ["id"],
        unique=False,
        postgresql_where=sa.text("parked_reason is null"),
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
        sa.Column("first_failed_at", Moment, nullable=False),
        sa.Column("last_failed_at", Moment, nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("replays", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'open'"), nullable=False),
        sa.Column("acted_at", Moment),
        sa.Column("acted_by", sa.Text()),
        sa.Column("created_at", Moment, server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint(
            "state in ('open', 'replayed', 'discarded')", name=op.f("dead_letters_state_check")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("dead_letters_pkey")),
    )
    op.create_index(
        op.f("dead_letters_fingerprint_idx"), "dead_letters", ["fingerprint"], unique=False
    )
    op.create_index(
        op.f("dead_letters_state_queue_created_at_idx"),
        "dead_letters",
        ["state", "queue", "created_at"],
        unique=False,
    )
