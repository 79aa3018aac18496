"""Make what keeps bad input and outages from stopping a queue.

Revision 0006, after 0005.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _add_registration_ids()
    _add_ordering_keys()
    _add_status_checks()
    _add_last_commands()
    _make_tables_of_queues()
    _index_letters()
    _index_operations()
    _make_routing()


def downgrade() -> None:
    op.drop_table("routing")
    _drop_index_of_operations()
    _drop_indexes_of_letters()
    _drop_tables_of_queues()
    _drop_last_commands()
    _drop_status_checks()
    _drop_ordering_keys()
    _drop_registration_ids()


def _add_registration_ids() -> None:
    """Tell a repeated registration from somebody who knows the password (issue 10, number 21)."""
    op.add_column("users", sa.Column("registration_id", sa.Uuid(), nullable=True))


def _drop_registration_ids() -> None:
    op.drop_column("users", "registration_id")


def _add_ordering_keys() -> None:
    op.add_column("outbox", sa.Column("ordering_key", sa.Text))
    op.create_index(
        "outbox_ordering_key_idx",
        "outbox",
        ["ordering_key", "id"],
        postgresql_where=sa.text("ordering_key is not null and parked_reason is null"),
    )


def _drop_ordering_keys() -> None:
    op.drop_index("outbox_ordering_key_idx", "outbox")
    op.drop_column("outbox", "ordering_key")


def _add_status_checks() -> None:
    """Note when platforms were asked for a campaign's status (issue 10, number 13)."""
    for name in ("status_asked_at", "status_answered_at"):
        op.add_column("campaigns", sa.Column(name, sa.DateTime(timezone=True), nullable=True))


def _drop_status_checks() -> None:
    for name in ("status_answered_at", "status_asked_at"):
        op.drop_column("campaigns", name)


def _make_tables_of_queues() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "stopped_queues",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("stopped_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("queue", name=op.f("stopped_queues_pkey")),
    )
    op.create_table(
        "suspects",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("key", sa.Uuid(), nullable=False),
        sa.Column("holder", sa.Uuid()),
        sa.Column("died", ARRAY(sa.Uuid()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("marked_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("queue", "key", name=op.f("suspects_pkey")),
    )
    op.create_index(op.f("suspects_marked_at_idx"), "suspects", ["marked_at"])
    op.create_table(
        "write_probes",
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("written_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("slot", name=op.f("write_probes_pkey")),
    )


def _drop_tables_of_queues() -> None:
    for table in ("write_probes", "suspects", "stopped_queues"):
        op.drop_table(table)


LETTER_ORDER = ("first_failed_at", "id")
LETTER_INDEXES: tuple[tuple[str, ...], ...] = (
    LETTER_ORDER,
    ("state", *LETTER_ORDER),
    ("queue", "state", *LETTER_ORDER),
    ("fingerprint", "state", *LETTER_ORDER),
)
OLD_LETTER_INDEXES: tuple[tuple[str, ...], ...] = (
    ("fingerprint",),
    ("state", "queue", "created_at"),
)


def _index_letters() -> None:
    """Let each listing of dead letters read an index in its order."""
    for columns in OLD_LETTER_INDEXES:
        op.drop_index(_name_of_index(columns), "dead_letters")
    for columns in LETTER_INDEXES:
        op.create_index(_name_of_index(columns), "dead_letters", list(columns))
    handled = sa.text("state <> 'open'")
    op.create_index(
        "dead_letters_handled_idx", "dead_letters", ["acted_at"], postgresql_where=handled
    )


def _drop_indexes_of_letters() -> None:
    op.drop_index("dead_letters_handled_idx", "dead_letters")
    for columns in LETTER_INDEXES:
        op.drop_index(_name_of_index(columns), "dead_letters")
    for columns in OLD_LETTER_INDEXES:
        op.create_index(_name_of_index(columns), "dead_letters", list(columns))


def _name_of_index(columns: Sequence[str]) -> str:
    return f"dead_letters_{'_'.join(columns)}_idx"


def _index_operations() -> None:
    """Let the relay find the operations that are old enough to be deleted."""
    op.create_index(
        "operations_updated_at_idx", "operations", ["updated_at"], postgresql_using="brin"
    )


def _drop_index_of_operations() -> None:
    op.drop_index("operations_updated_at_idx", "operations")


def _make_routing() -> None:
    moment = sa.DateTime(timezone=True)
    lists = ("broken", "missing", "known", "lost_paths")
    op.create_table(
        "routing",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        *(sa.Column(name, moment) for name in ("checked_at", "whole_at", "lost_since")),
        *(
            sa.Column(name, ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False)
            for name in lists
        ),
        sa.CheckConstraint("id = 1", name=op.f("routing_one_row_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("routing_pkey")),
    )


def _add_last_commands() -> None:
    """Know what a replayed command would overrule (issue 10, number 15)."""
    op.add_column("campaigns", sa.Column("last_command", JSONB(), nullable=True))


def _drop_last_commands() -> None:
    op.drop_column("campaigns", "last_command")
