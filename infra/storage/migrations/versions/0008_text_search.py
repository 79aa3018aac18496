"""Index the texts of dead letters by their trigrams, for those who look for a part of one.

Revision 0008. The extension is part of every Postgres distribution and trusted: who may create
objects in the database may create it (PostgreSQL manual, appendix F, "pg_trgm").
"""

from alembic import op

from infra.storage.migrations.online import create_index_online

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

NAME = "dead_letters_text_idx"
COLUMNS = ("source", "event_id", "reason")


def upgrade() -> None:
    """Create the extension and the index."""
    with op.get_context().autocommit_block():
        op.execute("create extension if not exists pg_trgm")
    create_index_online(
        NAME, "dead_letters", COLUMNS, using="gin", ops=dict.fromkeys(COLUMNS, "gin_trgm_ops")
    )


def downgrade() -> None:
    """Drop the index; the extension may serve others too."""
    op.drop_index(NAME, "dead_letters")
