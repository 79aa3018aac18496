"""Make what keeps bad input and outages from stopping a queue.

Revision 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _add_registration_ids()


def downgrade() -> None:
    _drop_registration_ids()


def _add_registration_ids() -> None:
    """Tell a repeated registration from somebody who knows the password (issue 10, number 21)."""
    op.add_column("users", sa.Column("registration_id", sa.Uuid(), nullable=True))


def _drop_registration_ids() -> None:
    op.drop_column("users", "registration_id")
