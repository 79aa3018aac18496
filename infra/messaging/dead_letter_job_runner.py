"""Runs the jobs of ``infra.messaging.dead_letter_jobs``, a few letters in a transaction.

A step locks its job, acts on the next letters, writes what became of them and when the next step
is due. A relay that is killed leaves the job where its last transaction was; several relays take
different jobs. Each letter is judged alone: what can be done is done, the rest is named.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import RowMapping
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from events.envelope import now
from infra.backoff import Backoff, sleep_until
from infra.errors import Outage
from infra.messaging import outbox, replay
from infra.messaging.dry_run import run_dry
from infra.messaging.error_classifier import ErrorKind, classify_error
from infra.messaging.replay import ReplayObjection, ReplayOptions
from infra.resources import Resources
from infra.settings import Settings
from infra.storage import dead_letter_jobs as jobs
from infra.storage.dead_letter_jobs import DeadLetterJob, JobFailure
from infra.storage.dead_letters import lock_dead_letters
from infra.storage.publisher_registry import PublisherRegistry

MAX_STEP = 100  # letters of a transaction
STEP_SECONDS = 0.5  # between two steps
POLL_SECONDS = 1.0  # until a new job is found

log = logging.getLogger(__name__)


async def run_dead_letter_jobs(resources: Resources, stop: asyncio.Event) -> None:
    """Run the jobs until ``stop`` is set; what is done stays done."""
    registry = PublisherRegistry(resources.engine)
    backoff = Backoff(first=0.2, longest=5)
    while not stop.is_set():
        try:
            delay = await run_due_step(resources, registry)
        except (SQLAlchemyError, OSError, Outage) as error:
            name = type(error).__name__
            log.warning("jobs of dead letters wait for the database", extra={"error": name})
            await backoff.sleep(stop)
            continue
        backoff.reset()
        if delay:
            await sleep_until(stop, delay)


async def run_due_step(resources: Resources, registry: PublisherRegistry) -> float:
    """Run one step of the job that is due; returns the seconds until the next may be due.

    Raises ``SQLAlchemyError``, ``OSError`` or ``Outage`` when Postgres fails; nothing is done then.
    """
    async with resources.engine.begin() as tx:
        job = await jobs.lock_due_job(tx, now())
        if job is None:
            delay = await jobs.find_delay(tx)
            return POLL_SECONDS if delay is None else min(max(delay, 0.01), POLL_SECONDS)
        await run_step(tx, job, resources.settings, registry)
    if job.kind == "replay":
        await outbox.notify(resources.redis)
    return 0


async def run_step(
    tx: AsyncConnection, job: DeadLetterJob, settings: Settings, registry: PublisherRegistry
) -> None:
    """Act on the next letters of a locked job; raises ``Outage`` as ``run_dry`` does."""
    size = max(1, min(MAX_STEP, round(job.rate * STEP_SECONDS)))
    ids = await jobs.read_next_letters(tx, job.id, size)
    heads = await lock_dead_letters(tx, ids)
    gone = set(ids) - {head["id"] for head in heads}
    objections = [ReplayObjection(one, "it is no longer on file") for one in gone]
    changed = [head for head in heads if head["state"] != _expected_state(job)]
    objections += [ReplayObjection(head["id"], _describe_change(head)) for head in changed]
    refused = {objection.letter for objection in objections}
    found = [head for head in heads if head["id"] not in refused]
    objections += await _act_on_each(tx, job, found, settings, registry)
    failures = [JobFailure(job.id, one.letter, None, one.reason) for one in objections]
    await jobs.advance_job(tx, job.id, len(ids), failures, len(ids) / job.rate)


async def _act_on_each(
    tx: AsyncConnection,
    job: DeadLetterJob,
    heads: Sequence[RowMapping],
    settings: Settings,
    registry: PublisherRegistry,
) -> list[ReplayObjection]:
    """Act on letters together; if that fails, on each alone, so that one holds back no other."""
    try:
        async with tx.begin_nested():
            return await _act(tx, job, heads, settings, registry)
    except Exception as error:
        if not _is_own_fault(error):
            raise
    objections = []
    for head in heads:
        try:
            async with tx.begin_nested():
                objections += await _act(tx, job, [head], settings, registry)
        except Exception as error:
            if not _is_own_fault(error):
                raise
            name = type(error).__name__
            told = {"letter": str(head["id"]), "error": name}
            log.warning("a dead letter is left as it is", extra=told)
            objections.append(ReplayObjection(head["id"], f"it cannot be read: {name}"))
    return objections


def _is_own_fault(error: Exception) -> bool:
    """Tell whether a letter has caused an error, and would cause it again."""
    return classify_error(error) in (ErrorKind.DATA, ErrorKind.BUG)


async def _act(
    tx: AsyncConnection,
    job: DeadLetterJob,
    heads: Sequence[RowMapping],
    settings: Settings,
    registry: PublisherRegistry,
) -> list[ReplayObjection]:
    by = job.created_by
    if job.kind == "discard":
        return await replay.discard(tx, heads, by, job.reason, job.id)
    if job.kind == "undo":
        return await replay.undo_discard(tx, heads, by, job.id)
    failing = []
    if job.only_passing:
        failing = await _find_failing(tx, heads, settings, registry)
    refused = {objection.letter for objection in failing}
    passing = [head for head in heads if head["id"] not in refused]
    how = ReplayOptions(job.new_id, job.force)
    return failing + await replay.replay(tx, passing, by, settings, how, job.id)


async def _find_failing(
    tx: AsyncConnection,
    heads: Sequence[RowMapping],
    settings: Settings,
    registry: PublisherRegistry,
) -> list[ReplayObjection]:
    failing = []
    for head in heads:
        if head["body_bytes"] > settings.max_event_bytes:
            continue  # refused by the replay, without reading it
        content = await replay.read_content(tx, head)
        tried = await run_dry(tx, head, content, settings, registry)
        if not tried.passes:
            failing.append(ReplayObjection(head["id"], f"would not pass: {tried.failure}"))
    return failing


def _expected_state(job: DeadLetterJob) -> str:
    return "discarded" if job.kind == "undo" else "open"


def _describe_change(head: RowMapping) -> str:
    """Describe what somebody else has done to a letter since the job began."""
    at, by = head["acted_at"], head["acted_by"]
    if at is None:
        return f"it is {head['state']}"
    state = "opened again" if head["state"] == "open" else head["state"]
    return f"it was {state} by {by} at {_format(at)}"


def _format(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
