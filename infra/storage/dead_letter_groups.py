"""Queries for groups of dead letters: those of one fingerprint, counted by triggers; their notes.

No letter is counted here: ``dead_letter_counts`` has a row for each fingerprint, state and hour
(UTC) of the last failure. What a group is about is read from its oldest letter, by an index.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.dead_letters import STATES, DeadLetterFilter

HOURS = 24
LIST_GROUPS = text("""
    with counted as (
        select fingerprint, sum(letters)::bigint as letters, max(last_failed_at) as last_failed_at
        from dead_letter_counts
        where state = any(cast(:states as text[]))
            and (cast(:fingerprint as text) is null or fingerprint = :fingerprint)
        group by fingerprint having sum(letters) > 0
    )
    select counted.*, oldest.queue, oldest.type, oldest.source, oldest.error_class, oldest.stage,
        oldest.reason, oldest.first_failed_at, coalesce(noted.assignee, '') as assignee,
        coalesce(noted.note, '') as note, noted.noted_by, noted.noted_at
    from counted
    cross join lateral (
        select letter.* from unnest(cast(:states as text[])) as wanted (state)
        cross join lateral (
            select queue, type, source, error_class, stage, left(reason, 400) as reason,
                first_failed_at
            from dead_letters
            where fingerprint = counted.fingerprint and dead_letters.state = wanted.state
            order by first_failed_at, id limit 1
        ) as letter
        order by letter.first_failed_at limit 1
    ) as oldest
    left join dead_letter_groups as noted using (fingerprint)
    where (cast(:queue as text) is null or oldest.queue = :queue)
        and (cast(:stage as text) is null or oldest.stage = :stage)
        and (cast(:error_class as text) is null or oldest.error_class = :error_class)
        and (cast(:since as timestamptz) is null or counted.last_failed_at >= :since)
    order by counted.last_failed_at desc, counted.fingerprint
    limit :limit
""")
READ_NOTE = text("""
    select assignee, note, noted_by, noted_at from dead_letter_groups
    where fingerprint = :fingerprint
""")
PUT_NOTE = text("""
    insert into dead_letter_groups as kept (fingerprint, assignee, note, noted_by)
    values (:fingerprint, :assignee, :note, :by)
    on conflict (fingerprint) do update set assignee = excluded.assignee, note = excluded.note,
        noted_by = excluded.noted_by, noted_at = clock_timestamp()
    where (kept.assignee, kept.note) <> (excluded.assignee, excluded.note)
""")
LOCK_GROUP = text("select pg_advisory_xact_lock(hashtextextended('group ' || :fingerprint, 0))")
COUNT_BY_HOUR = text("""
    select fingerprint, hour, sum(letters)::bigint from dead_letter_counts
    where fingerprint = any(cast(:fingerprints as text[])) and hour > cast(:since as timestamptz)
    group by fingerprint, hour
""")
COUNT_BY_STATE = text("""
    select state, sum(letters)::bigint from dead_letter_counts
    where cast(:fingerprint as text) is null or fingerprint = :fingerprint group by state
""")


@dataclass(frozen=True, slots=True)
class DeadLetterGroup:
    """The letters of one fingerprint; ``source`` and ``reason`` are the oldest's. Times are UTC."""

    fingerprint: str
    letters: int
    last_failed_at: datetime
    queue: str
    type: str | None
    source: str | None
    error_class: str
    stage: str
    reason: str
    first_failed_at: datetime
    assignee: str
    note: str
    noted_by: str | None
    noted_at: datetime | None


@dataclass(frozen=True, slots=True)
class GroupNote:
    """Who looks after a group, what is known of it, and who wrote that and when (UTC)."""

    assignee: str = ""
    note: str = ""
    noted_by: str = ""
    noted_at: datetime | None = None

    @property
    def version(self) -> str:
        """What a form was made from; empty before the first note."""
        return "" if self.noted_at is None else self.noted_at.isoformat()


async def read_note(tx: AsyncConnection, fingerprint: str, *, lock: bool = False) -> GroupNote:
    """Read the note of a group, an empty one if there is none; ``lock`` keeps others from it."""
    if lock:
        await tx.execute(LOCK_GROUP, {"fingerprint": fingerprint})
    row = (await tx.execute(READ_NOTE, {"fingerprint": fingerprint})).one_or_none()
    return GroupNote() if row is None else GroupNote(*row)


async def put_note(
    tx: AsyncConnection, fingerprint: str, assignee: str, note: str, by: str
) -> None:
    """Write the note of a group; one that says the same stays as it is."""
    values = {"fingerprint": fingerprint, "assignee": assignee, "note": note, "by": by}
    await tx.execute(PUT_NOTE, values)


async def list_groups(
    tx: AsyncConnection, matching: DeadLetterFilter, *, limit: int
) -> list[DeadLetterGroup]:
    """Read groups, the newest failure first; of ``matching`` the text counts for letters alone."""
    values = {
        "states": list(STATES) if matching.state is None else [matching.state],
        "fingerprint": matching.fingerprint,
        "queue": matching.queue,
        "stage": matching.stage,
        "error_class": matching.error_class,
        "since": matching.failed_since,
        "limit": limit,
    }
    rows = await tx.execute(LIST_GROUPS, values)
    return [DeadLetterGroup(**row) for row in rows.mappings()]


async def count_by_hour(
    tx: AsyncConnection, fingerprints: Sequence[str], since: datetime
) -> Mapping[tuple[str, datetime], int]:
    """Count the letters of each fingerprint and hour (UTC) of the last failure, in any state."""
    values = {"fingerprints": list(fingerprints), "since": since}
    rows = await tx.execute(COUNT_BY_HOUR, values)
    return {(row[0], row[1]): row[2] for row in rows}


async def list_hours(
    tx: AsyncConnection, fingerprints: Sequence[str], now: datetime
) -> dict[str, list[int]]:
    """List the letters of each fingerprint in the last ``HOURS``, oldest first; ``now`` is UTC."""
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    shown = [this_hour - timedelta(hours=back) for back in range(HOURS - 1, -1, -1)]
    counts = await count_by_hour(tx, fingerprints, shown[0] - timedelta(seconds=1))
    return {name: [counts.get((name, hour), 0) for hour in shown] for name in fingerprints}


async def count_by_state(tx: AsyncConnection, fingerprint: str | None = None) -> dict[str, int]:
    """Count the letters of each state, of one fingerprint or of all."""
    rows = await tx.execute(COUNT_BY_STATE, {"fingerprint": fingerprint})
    return {row[0]: row[1] for row in rows}
