"""Tables beside the dead letters: counters, notes of groups, history, bodies before an edit."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from infra.storage.tables.base import TIMESTAMPTZ, metadata

# Kept by triggers on dead_letters: how many letters failed last in an hour (UTC).
dead_letter_counts = Table(
    "dead_letter_counts",
    metadata,
    Column("fingerprint", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("hour", TIMESTAMPTZ, nullable=False),
    Column("letters", BigInteger, nullable=False),
    Column("last_failed_at", TIMESTAMPTZ, nullable=False),  # the newest that was counted here
    PrimaryKeyConstraint("fingerprint", "state", "hour"),
)

dead_letter_groups = Table(
    "dead_letter_groups",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    Column("assignee", Text, nullable=False, server_default=text("''")),
    Column("note", Text, nullable=False, server_default=text("''")),
    Column("noted_by", Text, nullable=False),
    Column("noted_at", TIMESTAMPTZ, nullable=False, server_default=func.now()),
)

# What people did to a letter; deleted with it.
dead_letter_history = Table(
    "dead_letter_history",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("letter_id", Uuid, ForeignKey("dead_letters.id", ondelete="CASCADE"), nullable=False),
    Column("at", TIMESTAMPTZ, nullable=False, server_default=func.now()),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("detail", Text, nullable=False, server_default=text("''")),
    Index(None, "letter_id", "id"),
)

# The body as it came, of a letter whose body was edited.
dead_letter_originals = Table(
    "dead_letter_originals",
    metadata,
    Column("letter_id", Uuid, ForeignKey("dead_letters.id", ondelete="CASCADE"), primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("kept_at", TIMESTAMPTZ, nullable=False, server_default=func.now()),
)
