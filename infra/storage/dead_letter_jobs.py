"""Queries for jobs: replays, discards and undos of many dead letters.

A job keeps the ids of its letters and how far it is. The process that locks its row takes the next
ids and writes what became of them in one transaction: one that is killed loses and repeats nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.tables import dead_letter_job_failures, dead_letter_jobs

MAX_SHOWN = 10  # jobs of a list
MAX_REASON = 500  # characters of a failure


@dataclass(frozen=True, slots=True)
class DeadLetterJob:
    """A job: ``kind`` is ``replay``, ``discard`` or ``undo``; ``state`` running, done or stopped.

    Of ``total`` letters the first ``place`` are behind it: ``applied`` were acted on, ``refused``
    left as they are. ``rate`` is in letters per second; times are UTC.
    """

    id: UUID
    kind: str
    state: str
    subject: str
    fingerprint: str | None
    total: int
    place: int
    applied: int
    refused: int
    rate: int
    new_id: bool
    force: bool
    only_passing: bool
    reason: str
    created_by: str
    created_at: datetime
    ended_at: datetime | None
    stopped_by: str | None


@dataclass(frozen=True, slots=True)
class JobProgress:
    """A job, and how many of the letters that it replayed have failed again."""

    job: DeadLetterJob
    failed_again: int


@dataclass(frozen=True, slots=True)
class JobFailure:
    """A letter that a job left as it is, or that failed again as the letter ``again_id``."""

    job_id: UUID
    letter_id: UUID
    again_id: UUID | None
    reason: str


COLUMNS = [dead_letter_jobs.c[field.name] for field in fields(DeadLetterJob)]
FAILURE_COLUMNS = [dead_letter_job_failures.c[field.name] for field in fields(JobFailure)]
CREATE = text("""
    insert into dead_letter_jobs (id, kind, subject, fingerprint, letters, total, rate, new_id,
        force, only_passing, reason, created_by)
    values (:id, :kind, :subject, :fingerprint, cast(:letters as uuid[]), :total, :rate, :new_id,
        :force, :only_passing, :reason, :created_by)
    on conflict (id) do nothing
""")
READ_SLICE = text("""
    select letters[place + 1 : place + :size] from dead_letter_jobs where id = :id
""")
ADVANCE = text("""
    update dead_letter_jobs set place = place + :size, applied = applied + :applied,
        refused = refused + :refused, next_at = now() + make_interval(secs => :seconds),
        state = case when place + :size >= total then 'done' else state end,
        ended_at = case when place + :size >= total then clock_timestamp() end
    where id = :id
""")
FIND_DELAY = text("""
    select extract(epoch from min(next_at) - clock_timestamp())::float from dead_letter_jobs
    where state = 'running'
""")
# What a discard has discarded and nobody has touched since.
FIND_DISCARDED = text("""
    select letter.id from dead_letter_jobs as job
    cross join lateral unnest(job.letters) with ordinality as listed (id, number)
    join dead_letters as letter on letter.id = listed.id
    where job.id = :id and letter.job_id = job.id and letter.state = 'discarded'
    order by listed.number
""")
ADD_FAILED_AGAIN = text("""
    insert into dead_letter_job_failures (job_id, letter_id, again_id, reason)
    select job.id, old.id, again.id, again.reason
    from unnest(cast(:old_ids as uuid[]), cast(:ids as uuid[]), cast(:reasons as text[]))
        as again (old_id, id, reason)
    join dead_letters as old on old.id = again.old_id
    join dead_letter_jobs as job on job.id = old.job_id
    order by job.id, old.id
    on conflict (job_id, letter_id) do nothing
""")
COUNT_FAILURES = text("""
    select job_id, count(*) from dead_letter_job_failures
    where job_id = any(cast(:ids as uuid[])) group by job_id
""")
LIST_FAILURES = text("""
    select failure.job_id, failure.letter_id, failure.again_id, failure.reason
    from unnest(cast(:ids as uuid[])) as job (id)
    cross join lateral (
        select * from dead_letter_job_failures where job_id = job.id order by letter_id limit :most
    ) as failure
""")


async def create_job(tx: AsyncConnection, job: DeadLetterJob, letters: Sequence[UUID]) -> bool:
    """Create a job; False when there is one with this id."""
    values = {field.name: getattr(job, field.name) for field in fields(DeadLetterJob)}
    created = await tx.execute(CREATE, {**values, "letters": list(letters)})
    return created.rowcount == 1


async def read_job(
    tx: AsyncConnection, job_id: UUID, *, lock: bool = False
) -> DeadLetterJob | None:
    """Read a job; None if there is none. ``lock`` locks its row."""
    query = select(*COLUMNS).where(dead_letter_jobs.c.id == job_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).mappings().one_or_none()
    return None if row is None else DeadLetterJob(**row)


async def lock_due_job(tx: AsyncConnection, at: datetime) -> DeadLetterJob | None:
    """Lock the job that has waited longest for its next step at ``at``; None if none is due.

    Jobs that another process has locked are skipped.
    """
    table = dead_letter_jobs
    query = (
        select(*COLUMNS)
        .where(table.c.state == "running", table.c.next_at <= at)
        .order_by(table.c.next_at)
        .limit(1)
        .with_for_update(skip_locked=True, key_share=True)
    )
    row = (await tx.execute(query)).mappings().one_or_none()
    return None if row is None else DeadLetterJob(**row)


async def read_next_letters(tx: AsyncConnection, job_id: UUID, size: int) -> list[UUID]:
    """Read the ids of the next letters of a job."""
    found = (await tx.execute(READ_SLICE, {"id": job_id, "size": size})).scalar_one()
    return list(found)


async def advance_job(
    tx: AsyncConnection, job_id: UUID, size: int, failures: Sequence[JobFailure], seconds: float
) -> None:
    """Move a job on by ``size`` letters; it is due again in ``seconds``, or done."""
    refused = len(failures)
    values = {"id": job_id, "size": size, "applied": size - refused, "refused": refused}
    await tx.execute(ADVANCE, {**values, "seconds": seconds})
    if failures:
        rows = [
            {"job_id": x.job_id, "letter_id": x.letter_id, "reason": x.reason[:MAX_REASON]}
            for x in failures
        ]
        await tx.execute(insert(dead_letter_job_failures), rows)


async def find_delay(tx: AsyncConnection) -> float | None:
    """Find in how many seconds the next job is due; None when none is running."""
    delay: float | None = (await tx.execute(FIND_DELAY)).scalar_one()
    return delay


async def stop_job(tx: AsyncConnection, job_id: UUID, by: str, at: datetime) -> None:
    """Stop a job behind the letters that it has acted on; ``at`` is in UTC."""
    table = dead_letter_jobs
    await tx.execute(
        update(table)
        .where(table.c.id == job_id, table.c.state == "running")
        .values(state="stopped", ended_at=at, stopped_by=by)
    )


async def find_discarded(tx: AsyncConnection, job_id: UUID) -> list[UUID]:
    """Find the letters that a discard has discarded, if nothing was done to them since."""
    return list((await tx.execute(FIND_DISCARDED, {"id": job_id})).scalars())


async def list_progress(tx: AsyncConnection, ended_since: datetime) -> list[JobProgress]:
    """Read the jobs that run or have ended since a time (UTC), the newest first."""
    table = dead_letter_jobs
    running = select(*COLUMNS).where(table.c.state == "running")
    ended = select(*COLUMNS).where(table.c.state != "running", table.c.ended_at >= ended_since)
    found: list[DeadLetterJob] = []
    for query in (running, ended):
        rows = await tx.execute(query.order_by(table.c.created_at.desc()).limit(MAX_SHOWN))
        found += [DeadLetterJob(**row) for row in rows.mappings()]
    counts = {}
    if found:
        rows = await tx.execute(COUNT_FAILURES, {"ids": [job.id for job in found]})
        counts = {row[0]: row[1] for row in rows}
    return [JobProgress(job, max(counts.get(job.id, 0) - job.refused, 0)) for job in found]


async def list_failures(tx: AsyncConnection, ids: Sequence[UUID], most: int) -> list[JobFailure]:
    """Read up to ``most`` failures of each job."""
    rows = await tx.execute(LIST_FAILURES, {"ids": list(ids), "most": most})
    return [JobFailure(*row) for row in rows]


async def add_failed_again(tx: AsyncConnection, again: Sequence[tuple[UUID, UUID, str]]) -> None:
    """Record letters that failed again: the letter that was replayed, the new one, its reason."""
    values = {
        "old_ids": [old for old, _, _ in again],
        "ids": [new for _, new, _ in again],
        "reasons": [reason[:MAX_REASON] for _, _, reason in again],
    }
    await tx.execute(ADD_FAILED_AGAIN, values)
