"""Replay or discard a group, a filter or chosen letters: starts jobs, stops them, undoes discards.

Each is a POST that names the job: a form that is sent twice starts one job.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from events.envelope import now
from infra.messaging.dead_letter_job_runner import run_step
from infra.messaging.dead_letter_jobs import (
    DEFAULT_RATE,
    MAX_RATE,
    JobRequest,
    build_undo,
    select_letters,
    start_job,
)
from infra.messaging.replay import UNDO_TIME
from infra.settings import Settings
from infra.storage.dead_letter_jobs import find_discarded, read_job, stop_job
from infra.storage.dead_letters import DeadLetterFilter
from infra.storage.publisher_registry import PublisherRegistry
from infra.web.errors import HttpError, not_found
from workers.ops.page import Page, SeeOther
from workers.ops.pages.dead_letters import MAX_UNCONFIRMED, JobForm, build
from workers.ops.pages.letter_filter import LetterFilter, parse_filter, parse_picks
from workers.ops.request import ConsoleRequest

MAX_REASON = 500  # characters
CONFLICT, UNPROCESSABLE = 409, 422
KINDS = ("replay", "discard")


@dataclass(frozen=True, slots=True)
class JobInput:
    """What a form asks for: the letters, how, and what was typed."""

    job_id: UUID
    kind: str
    chosen: LetterFilter
    picks: Sequence[UUID]
    form: JobForm

    @property
    def subject(self) -> str:
        """Which letters these are, in words."""
        if self.picks:
            number = len(self.picks)
            return f"{number} chosen letter{'' if number == 1 else 's'}"
        return self.chosen.describe()


async def post_start(request: ConsoleRequest) -> Page | SeeOther:
    """Start a job, or show the page again with what was typed and why none was started."""
    asked = read_input(request.form)
    by, settings = request.session.content.email, request.state.resources.settings
    registry = PublisherRegistry(request.state.resources.engine)
    try:
        rate = _check(asked)
        job = JobRequest(
            id=asked.job_id,
            kind=asked.kind,
            subject=asked.subject,
            by=by,
            fingerprint=None if asked.picks else asked.chosen.group or None,
            rate=rate,
            only_passing="only" in request.form,
            new_id="new_id" in request.form,
            force="force" in request.form,
            reason=asked.form.reason,
        )
        name = f"dead_letter.{asked.kind}"
        await request.act(name, asked.subject, start, asked, job, settings, registry)
    except HttpError as error:
        if error.status not in (CONFLICT, UNPROCESSABLE):
            raise
        form = asked.form.with_problem(error.message)
        return await build(request, asked.chosen, asked.picks, form, status=error.status)
    await request.state.sampler.take()
    return SeeOther(asked.chosen.address(anchor=f"job-{asked.job_id}"))


async def post_stop(request: ConsoleRequest) -> SeeOther:
    """Stop a job; one that has ended stays as it is."""
    job_id, by = _parse_job_id(request.web.match_info["job"]), request.session.content.email
    await request.act("dead_letter.stop", str(job_id), stop, job_id, by)
    await request.state.sampler.take()
    return SeeOther(f"/dead-letters#job-{job_id}")


async def post_undo(request: ConsoleRequest) -> SeeOther:
    """Undo a discard that has ended in the last ten minutes."""
    job_id, by = _parse_job_id(request.web.match_info["job"]), request.session.content.email
    settings = request.state.resources.settings
    registry = PublisherRegistry(request.state.resources.engine)
    name = "dead_letter.undo_discard"
    undo_id = await request.act(name, str(job_id), undo, job_id, by, settings, registry)
    await request.state.sampler.take()
    return SeeOther(f"/dead-letters#job-{undo_id}")


def read_input(form: Mapping[str, str]) -> JobInput:
    """Read what a form asks for; raises an ``HttpError`` (400) for what no page has sent."""
    kind, picks = form.get("kind", ""), parse_picks(form.get("letters", "").split(","))
    chosen = parse_filter(dict(parse_qsl(form.get("filter", ""))))
    try:
        job_id = UUID(form.get("job", ""))
    except ValueError:
        job_id = None
    if job_id is None or kind not in KINDS or not (picks or chosen.is_limited):
        raise HttpError(400, "VALIDATION_ERROR", "The form does not say what it is about.")
    reason = form.get("reason", "").strip()[:MAX_REASON].replace("\0", "")
    typed = JobForm(kind, form.get("rate", str(DEFAULT_RATE)), reason, form.get("count", ""))
    return JobInput(job_id, kind, chosen, picks, typed)


async def start(
    tx: AsyncConnection,
    asked: JobInput,
    request: JobRequest,
    settings: Settings,
    registry: PublisherRegistry,
) -> None:
    """Start a job unless it is known; raises an ``HttpError``: 409, 422 for the wrong number.

    A discard takes its first step at once, so that a small one is done when the page comes back.
    """
    if await read_job(tx, request.id) is not None:
        return
    letters = asked.picks or await select_letters(tx, _select_open(asked.chosen))
    if not letters:
        message = "Nothing was started: no open letter matches. Another may have been quicker."
        raise HttpError(CONFLICT, "CONFLICT", message)
    number = len(letters)
    if asked.kind == "discard" and number > MAX_UNCONFIRMED:
        _check_number(asked.form.count, number)
    job = await start_job(tx, request, letters)
    if job is not None and asked.kind == "discard":
        await run_step(tx, job, settings, registry)


async def stop(tx: AsyncConnection, job_id: UUID, by: str) -> None:
    """Stop a job; raises an ``HttpError`` (404)."""
    if await read_job(tx, job_id, lock=True) is None:
        raise not_found("job")
    await stop_job(tx, job_id, by, now())


async def undo(
    tx: AsyncConnection, job_id: UUID, by: str, settings: Settings, registry: PublisherRegistry
) -> UUID:
    """Start the undo of a discard; returns its job. Raises an ``HttpError``: 404, 409."""
    job = await read_job(tx, job_id, lock=True)
    if job is None or job.kind != "discard":
        raise not_found("discard")
    request = build_undo(job, by)
    if await read_job(tx, request.id) is not None:
        return request.id
    if job.ended_at is None or job.ended_at < now() - UNDO_TIME:
        when = "is under way: stop it first" if job.ended_at is None else "ended too long ago"
        raise HttpError(CONFLICT, "CONFLICT", f"Not undone: the discard {when}.")
    letters = await find_discarded(tx, job_id)
    if not letters:
        raise HttpError(CONFLICT, "CONFLICT", "Not undone: none of its letters is discarded now.")
    undoing = await start_job(tx, request, letters)
    if undoing is not None:
        await run_step(tx, undoing, settings, registry)
    return request.id


def _select_open(chosen: LetterFilter) -> DeadLetterFilter:
    return chosen.with_state("open").to_query(now())


def _check(asked: JobInput) -> int:
    """Return the rate, letters per second; raises an ``HttpError`` (422)."""
    if asked.chosen.state != "open":
        raise _refuse("Nothing was started: only open letters are replayed or discarded.")
    if asked.kind == "discard":
        if not asked.form.reason:
            raise _refuse("Not discarded: say why, for those who look later.")
        if not asked.picks and not asked.chosen.is_group:
            raise _refuse("Not discarded: choose a group or letters.")
        return MAX_RATE
    rate = asked.form.rate.strip()
    if not (rate.isascii() and rate.isdigit() and 0 < int(rate[:9]) <= MAX_RATE):
        raise _refuse(f"Not replayed: the rate is a whole number from 1 to {MAX_RATE}.")
    return int(rate)


def _check_number(typed: str, number: int) -> None:
    if typed.strip().replace(",", "") != str(number):
        raise _refuse(f"Not discarded: these are {number:,} letters, and another number was typed.")


def _refuse(message: str) -> HttpError:
    return HttpError(UNPROCESSABLE, "VALIDATION_ERROR", message)


def _parse_job_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise not_found("job") from None
