"""Tables beside the dead letters: counters, notes, history, bodies before an edit, jobs."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
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

# A replay, discard or undo of many letters; the relay works through ``letters`` from ``place`` on.
dead_letter_jobs = Table(
    "dead_letter_jobs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'running'")),
    Column("subject", Text, nullable=False),  # which letters these are, in words
    Column("fingerprint", Text),
    Column("letters", ARRAY(Uuid), nullable=False),
    Column("total", Integer, nullable=False),
    Column("place", Integer, nullable=False, server_default=text("0")),
    Column("applied", Integer, nullable=False, server_default=text("0")),
    Column("refused", Integer, nullable=False, server_default=text("0")),
    Column("rate", Integer, nullable=False),  # letters per second, at most
    Column("new_id", Boolean, nullable=False),
    Column("force", Boolean, nullable=False),
    Column("only_passing", Boolean, nullable=False),
    Column("reason", Text, nullable=False, server_default=text("''")),
    Column("created_by", Text, nullable=False),
    Column("created_at", TIMESTAMPTZ, nullable=False, server_default=func.now()),
    Column("next_at", TIMESTAMPTZ, nullable=False, server_default=func.now()),
    Column("ended_at", TIMESTAMPTZ),
    Column("stopped_by", Text),
    CheckConstraint("kind in ('replay', 'discard', 'undo')", name="kind"),
    CheckConstraint("state in ('running', 'done', 'stopped')", name="state"),
    Index("dead_letter_jobs_running_idx", "next_at", postgresql_where=text("state = 'running'")),
    Index("dead_letter_jobs_ended_idx", "ended_at", postgresql_where=text("state <> 'running'")),
)

# Letters of a job that were left as they are, and those that failed again after their replay.
dead_letter_job_failures = Table(
    "dead_letter_job_failures",
    metadata,
    Column("job_id", Uuid, ForeignKey("dead_letter_jobs.id", ondelete="CASCADE"), nullable=False),
    Column("letter_id", Uuid, nullable=False),
    Column("again_id", Uuid),  # the letter that it has become; null if it was not replayed
    Column("reason", Text, nullable=False),
    Column("at", TIMESTAMPTZ, nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("job_id", "letter_id"),
)
