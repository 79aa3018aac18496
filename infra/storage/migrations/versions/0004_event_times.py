"""Index the event index by time, so that the newest events are listed without reading all.

Revision 0004.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NAME = "event_index_logged_at_log_offset_idx"


def upgrade() -> None:
    """Create the index, on the partitions too."""
    op.create_index(op.f(NAME), "event_index", ["logged_at", "log_offset"])


def downgrade() -> None:
    """Drop the index."""
    op.drop_index(op.f(NAME), "event_index")
