"""Replays, discards and undos of many dead letters: jobs in Postgres that the relay runs.

    console -> dead_letter_jobs (the ids of the letters) -> relay, some letters in a transaction

``infra.messaging.dead_letter_job_runner`` says how they run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from sqlalchemy.ext.asyncio import AsyncConnection

from events.envelope import now
from infra.messaging import replay
from infra.storage import dead_letter_jobs as jobs
from infra.storage.dead_letter_jobs import DeadLetterJob
from infra.storage.dead_letters import DeadLetterFilter, DeadLetterRow, list_ids

MAX_LETTERS = 100_000  # of a job
MAX_RATE, DEFAULT_RATE = 500, 10  # letters per second


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a person asks for; ``id`` comes from the form, so that sending it twice is one job.

    ``rate`` is in letters per second, ``only_passing`` leaves those that would fail a dry run.
    """

    id: UUID
    kind: str
    subject: str
    by: str
    fingerprint: str | None = None
    rate: int = MAX_RATE
    only_passing: bool = False
    new_id: bool = False
    force: bool = False
    reason: str = ""


async def start_job(
    tx: AsyncConnection, request: JobRequest, letters: Sequence[UUID]
) -> DeadLetterJob | None:
    """Start a job on letters, at most ``MAX_LETTERS``; None if there is one with this id."""
    job = _build_job(request, len(letters))
    return job if await jobs.create_job(tx, job, letters) else None


async def select_letters(tx: AsyncConnection, matching: DeadLetterFilter) -> list[UUID]:
    """Select the first ``MAX_LETTERS`` that match, the oldest failure first."""
    return await list_ids(tx, matching, limit=MAX_LETTERS)


def build_undo(job: DeadLetterJob, by: str) -> JobRequest:
    """Build the request that undoes a discard."""
    return JobRequest(derive_undo_id(job.id), "undo", job.subject, by, job.fingerprint)


def derive_undo_id(job_id: UUID) -> UUID:
    """Derive the id of the job that undoes another one, so that there is one at most."""
    return uuid5(job_id, "undo")


async def record_failed_again(tx: AsyncConnection, dead: Sequence[DeadLetterRow]) -> None:
    """Tell the jobs which of their replayed letters have failed again, as they are filed."""
    replayed = [(replay.parse_replayed_id(row.message_id, row.replays), row) for row in dead]
    again = [(old, row.id, row.reason) for old, row in replayed if old is not None]
    if again:
        await jobs.add_failed_again(tx, again)


def _build_job(request: JobRequest, total: int) -> DeadLetterJob:
    return DeadLetterJob(
        id=request.id,
        kind=request.kind,
        state="running",
        subject=request.subject,
        fingerprint=request.fingerprint,
        total=total,
        place=0,
        applied=0,
        refused=0,
        rate=request.rate,
        new_id=request.new_id,
        force=request.force,
        only_passing=request.only_passing,
        reason=request.reason,
        created_by=request.by,
        created_at=now(),
        ended_at=None,
        stopped_by=None,
    )
