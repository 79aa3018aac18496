"""Index what events are found by, and what expires, without a pause of those who write.

Revision 0005.
"""

from alembic import op

from infra.storage.migrations.online import create_index_online, drop_index_online

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Name, table and column; the last two take the place of BRIN indexes.
INDEXES = (
    ("dead_letters_event_id_idx", "dead_letters", "event_id"),
    ("dead_letters_message_id_idx", "dead_letters", "message_id"),
    ("outbox_message_id_idx", "outbox", "message_id"),
    ("inbox_expiry_idx", "inbox", "handled_at"),
)
BRIN_INDEXES = (
    ("inbox_handled_at_idx", "inbox", "handled_at"),
    ("operations_updated_at_idx", "operations", "updated_at"),
)
ENDED = "operations_ended_idx"


def upgrade() -> None:
    """Create them; then the indexes that they replace are dropped."""
    for name, table, column in INDEXES:
        create_index_online(name, table, [column])
    create_index_online(ENDED, "operations", ["updated_at"], where="state <> 'pending'")
    for name, table, _ in BRIN_INDEXES:
        drop_index_online(name, table)


def downgrade() -> None:
    """Drop them, and create what they have replaced."""
    for name, table, column in BRIN_INDEXES:
        op.create_index(name, table, [column], postgresql_using="brin")
    op.drop_index(ENDED, "operations")
    for name, table, _ in reversed(INDEXES):
        op.drop_index(name, table)
