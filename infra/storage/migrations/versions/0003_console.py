"""Create what the console keeps of dead letters: counters, notes of groups, history.

A trigger keeps the counters, so that whatever changes a dead letter changes them in the same
transaction. Its upserts take the rows in the order of their key, which keeps them from deadlocks.

Revision 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIMESTAMPTZ = sa.DateTime(timezone=True)
NOW = sa.func.now()
HOUR = "date_trunc('hour', last_failed_at, 'UTC')"
ADDED = f"select fingerprint, state, {HOUR}, 1, last_failed_at from added"  # noqa: S608 - constants
REMOVED = f"select fingerprint, state, {HOUR}, -1, last_failed_at from removed"  # noqa: S608 - constants
# Tables of the rows of a statement, as each kind of statement has them.
TRANSITIONS = {
    "insert": ("new table as added", ADDED),
    "update": ("old table as removed new table as added", f"{ADDED} union all {REMOVED}"),
    "delete": ("old table as removed", REMOVED),
}
ADD_TO_COUNTS = """
    insert into dead_letter_counts as kept (fingerprint, state, hour, letters, last_failed_at)
    select fingerprint, state, hour, sum(change), max(failed_at)
    from ({changes}) as changes (fingerprint, state, hour, change, failed_at)
    group by fingerprint, state, hour
    having sum(change) <> 0
    order by fingerprint, state, hour
    on conflict (fingerprint, state, hour) do update set
        letters = kept.letters + excluded.letters,
        last_failed_at = greatest(kept.last_failed_at, excluded.last_failed_at);
"""
DROP_ZEROS = """
    delete from dead_letter_counts as kept
    using (select distinct fingerprint, state, {hour} as hour from removed) as changed
    where kept.letters = 0 and kept.fingerprint = changed.fingerprint
        and kept.state = changed.state and kept.hour = changed.hour;
"""
COUNT_WHAT_IS_THERE = f"""
    insert into dead_letter_counts (fingerprint, state, hour, letters, last_failed_at)
    select fingerprint, state, {HOUR}, count(*), max(last_failed_at)
    from dead_letters group by 1, 2, 3
"""  # noqa: S608 - constants


def upgrade() -> None:
    _create_counts()
    _create_groups()
    _create_history()
    _create_originals()
    _create_triggers()
    op.execute(COUNT_WHAT_IS_THERE)


def downgrade() -> None:
    for kind in TRANSITIONS:
        op.execute(f"drop trigger dead_letters_count_{kind} on dead_letters")
        op.execute(f"drop function count_dead_letters_{kind}()")
    for table in (
        "dead_letter_originals",
        "dead_letter_history",
        "dead_letter_groups",
        "dead_letter_counts",
    ):
        op.drop_table(table)


def _create_counts() -> None:
    op.create_table(
        "dead_letter_counts",
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("hour", TIMESTAMPTZ, nullable=False),
        sa.Column("letters", sa.BigInteger(), nullable=False),
        sa.Column("last_failed_at", TIMESTAMPTZ, nullable=False),
        sa.PrimaryKeyConstraint(
            "fingerprint", "state", "hour", name=op.f("dead_letter_counts_pkey")
        ),
    )


def _create_groups() -> None:
    op.create_table(
        "dead_letter_groups",
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("assignee", sa.Text(), server_default="", nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("noted_by", sa.Text(), nullable=False),
        sa.Column("noted_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("dead_letter_groups_pkey")),
    )


def _create_history() -> None:
    op.create_table(
        "dead_letter_history",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("letter_id", sa.Uuid(), nullable=False),
        sa.Column("at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["letter_id"],
            ["dead_letters.id"],
            name=op.f("dead_letter_history_letter_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("dead_letter_history_pkey")),
    )
    op.create_index(
        op.f("dead_letter_history_letter_id_id_idx"), "dead_letter_history", ["letter_id", "id"]
    )


def _create_originals() -> None:
    op.create_table(
        "dead_letter_originals",
        sa.Column("letter_id", sa.Uuid(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("kept_at", TIMESTAMPTZ, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["letter_id"],
            ["dead_letters.id"],
            name=op.f("dead_letter_originals_letter_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("letter_id", name=op.f("dead_letter_originals_pkey")),
    )


def _create_triggers() -> None:
    for kind, (tables, changes) in TRANSITIONS.items():
        body = ADD_TO_COUNTS.format(changes=changes)
        if "removed" in tables:
            body += DROP_ZEROS.format(hour=HOUR)
        op.execute(f"""
            create function count_dead_letters_{kind}() returns trigger language plpgsql as $$
            begin {body} return null; end $$
        """)
        op.execute(f"""
            create trigger dead_letters_count_{kind} after {kind} on dead_letters
            referencing {tables} for each statement execute function count_dead_letters_{kind}()
        """)
