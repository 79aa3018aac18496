"""Jobs of dead letters: each letter once, through kills, stops and others who are quicker."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import now
from infra.amqp.permissions import INGRESS_USER
from infra.messaging import replay
from infra.messaging.dead_letter_job_runner import run_dead_letter_jobs, run_due_step, run_step
from infra.messaging.dead_letter_jobs import (
    JobRequest,
    build_undo,
    record_failed_again,
    select_letters,
    start_job,
)
from infra.messaging.headers import USER
from infra.messaging.outbox_relay import relay_once
from infra.messaging.replay import ReplayOptions
from infra.resources import Resources
from infra.storage import dead_letter_jobs as jobs
from infra.storage.dead_letters import DeadLetterFilter, DeadLetterRow, lock_dead_letters
from infra.storage.publisher_registry import PublisherRegistry
from tests.infra.commands.test_dead_letters import filing_dead_letters, wrong
from tests.infra.ledger import consuming, create, publish, until
from tests.infra.messaging.test_consumer import note
from tests.workers.ops.letters import KIND, figures, put_letter

OURS = {
    "content_type": "application/cloudevents+json",
    "type": KIND,
    "correlation_id": "",
    "headers": {USER: INGRESS_USER},
}
SENT = "select message_id from outbox where exchange = 'adrelay.back' order by message_id"


class Killed(BaseException):
    """What a process that dies raises in a test."""


async def rows(engine: AsyncEngine, query: str, **values: Any) -> list[Any]:
    async with engine.begin() as tx:
        found = await tx.execute(text(query), values)
        return [tuple(row) for row in found] if found.returns_rows else []


@pytest.fixture(autouse=True)
async def nothing_filed(engine: AsyncEngine) -> None:
    for table in ("dead_letters", "dead_letter_jobs", "outbox"):
        await rows(engine, f"delete from {table}")  # noqa: S608 - constants


async def put_letters(engine: AsyncEngine, number: int, **changes: Any) -> list[UUID]:
    values = {"properties": OURS, **changes}
    return [await put_letter(engine, figures(f"e-{n}"), **values) for n in range(number)]


async def start(engine: AsyncEngine, letters: Sequence[UUID], **changes: Any) -> UUID:
    values: dict[str, Any] = {"kind": "replay", "subject": "a test", "by": "ada", "rate": 500}
    request = JobRequest(id=uuid4(), **{**values, **changes})
    async with engine.begin() as tx:
        assert await start_job(tx, request, letters) is not None
    return request.id


async def read(engine: AsyncEngine, job_id: UUID) -> jobs.DeadLetterJob:
    async with engine.connect() as tx:
        job = await jobs.read_job(tx, job_id)
    assert job is not None
    return job


async def make_due(engine: AsyncEngine) -> None:
    await rows(engine, "update dead_letter_jobs set next_at = now() - interval '1 second'")


async def step(resources: Resources) -> float:
    return await run_due_step(resources, PublisherRegistry(resources.engine))


async def failures(engine: AsyncEngine, job_id: UUID) -> dict[UUID, str]:
    async with engine.connect() as tx:
        found = await jobs.list_failures(tx, [job_id], 100)
    return {one.letter_id: one.reason for one in found}


async def test_a_replay_sends_each_letter_once_and_ends(
    resources: Resources, engine: AsyncEngine
) -> None:
    letters = await put_letters(engine, 5)
    async with engine.connect() as tx:
        assert await select_letters(tx, DeadLetterFilter("open")) == letters
    job_id = await start(engine, letters)
    stop = asyncio.Event()
    running = asyncio.create_task(run_dead_letter_jobs(resources, stop))

    async def has_ended() -> bool:
        return (await read(engine, job_id)).state == "done"

    await until(has_ended)
    stop.set()
    await running
    job = await read(engine, job_id)
    assert (job.place, job.applied, job.refused) == (5, 5, 0)
    assert job.ended_at is not None
    assert await rows(engine, SENT) == sorted((f"replay:{one}:1",) for one in letters)
    assert await rows(engine, "select distinct state, acted_by, job_id from dead_letters") == [
        ("replayed", "ada", job_id)
    ]


async def test_a_step_takes_what_the_rate_allows_and_the_next_one_waits(
    resources: Resources, engine: AsyncEngine
) -> None:
    job_id = await start(engine, await put_letters(engine, 5), rate=4)
    assert await step(resources) == 0
    assert (await read(engine, job_id)).place == 2  # half a second's
    assert 0 < await step(resources) <= 0.5
    assert (await read(engine, job_id)).place == 2, "the next step is not due"
    await make_due(engine)
    await step(resources)
    assert (await read(engine, job_id)).place == 4


async def test_a_runner_that_is_killed_in_a_step_loses_and_repeats_nothing(
    resources: Resources, engine: AsyncEngine
) -> None:
    letters = await put_letters(engine, 6)
    job_id = await start(engine, letters, rate=4)
    await step(resources)
    await make_due(engine)
    job = await read(engine, job_id)
    registry = PublisherRegistry(engine)

    async def die_before_the_commit() -> None:
        async with engine.begin() as tx:
            await run_step(tx, job, resources.settings, registry)
            raise Killed

    with pytest.raises(Killed):
        await die_before_the_commit()
    assert (await read(engine, job_id)).place == 2
    for _ in range(2):
        await make_due(engine)
        await step(resources)
    job = await read(engine, job_id)
    assert (job.state, job.applied, job.refused) == ("done", 6, 0)
    assert await rows(engine, SENT) == sorted((f"replay:{one}:1",) for one in letters)


async def test_two_runners_never_take_the_same_letters(
    resources: Resources, engine: AsyncEngine
) -> None:
    letters = await put_letters(engine, 20)
    job_id = await start(engine, letters, rate=10)
    while (await read(engine, job_id)).state == "running":
        await make_due(engine)
        await asyncio.gather(*(step(resources) for _ in range(3)))
    assert (await read(engine, job_id)).applied == 20
    assert len(await rows(engine, SENT)) == 20


async def test_what_another_did_meanwhile_is_named_and_left_alone(
    resources: Resources, engine: AsyncEngine
) -> None:
    first, second, third, fourth = await put_letters(engine, 4)
    job_id = await start(engine, [first, second, third, fourth])
    async with engine.begin() as tx:
        heads = await lock_dead_letters(tx, [second])
        await replay.replay(tx, heads, "oncall", resources.settings, ReplayOptions())
        await replay.discard(tx, await lock_dead_letters(tx, [third]), "oncall")
    await rows(engine, "delete from dead_letters where id = :id", id=fourth)
    await step(resources)
    job = await read(engine, job_id)
    assert (job.state, job.applied, job.refused) == ("done", 1, 3)
    named = await failures(engine, job_id)
    assert named[second].startswith("it was replayed by oncall at ")
    assert named[third].startswith("it was discarded by oncall at ")
    assert named[fourth] == "it is no longer on file"
    assert len(await rows(engine, SENT)) == 2


async def test_a_letter_that_cannot_be_sent_holds_back_no_other(
    resources: Resources, engine: AsyncEngine
) -> None:
    good, other = await put_letters(engine, 2)
    broken = await put_letter(engine, figures("x"), properties={})
    large = await put_letter(engine, b"x" * 300_000, properties=OURS)
    job_id = await start(engine, [broken, good, large, other])
    await step(resources)
    job = await read(engine, job_id)
    assert (job.state, job.applied, job.refused) == ("done", 2, 2)
    named = await failures(engine, job_id)
    assert named[broken] == "it cannot be read: KeyError"
    assert "has 300000 bytes" in named[large]
    assert await rows(engine, SENT) == sorted((f"replay:{one}:1",) for one in (good, other))


async def test_only_those_that_pass_their_dry_run_are_sent(
    resources: Resources, engine: AsyncEngine
) -> None:
    (good,) = await put_letters(engine, 1)
    wrong = await put_letter(engine, figures("w", clicks="many"), properties=OURS)
    job_id = await start(engine, [good, wrong], only_passing=True)
    await step(resources)
    assert await rows(engine, SENT) == [(f"replay:{good}:1",)]
    named = await failures(engine, job_id)
    assert list(named) == [wrong]
    assert named[wrong].startswith("would not pass: data.clicks")


async def test_a_stopped_job_goes_no_further(resources: Resources, engine: AsyncEngine) -> None:
    job_id = await start(engine, await put_letters(engine, 4), rate=4)
    await step(resources)
    async with engine.begin() as tx:
        await jobs.stop_job(tx, job_id, "grace", now())
        await jobs.stop_job(tx, job_id, "oncall", now())
    await make_due(engine)
    assert await step(resources) == 1.0, "nothing is due"
    job = await read(engine, job_id)
    assert (job.state, job.place, job.stopped_by) == ("stopped", 2, "grace")
    assert len(await rows(engine, SENT)) == 2


async def test_an_undo_opens_what_the_discard_has_discarded_and_nothing_else(
    resources: Resources, engine: AsyncEngine
) -> None:
    first, second, third = await put_letters(engine, 3)
    async with engine.begin() as tx:
        await replay.discard(tx, await lock_dead_letters(tx, [third]), "oncall", "spam")
    job_id = await start(engine, [first, second, third], kind="discard", reason="twice")
    await step(resources)
    discarded = await read(engine, job_id)
    assert (discarded.applied, discarded.refused) == (2, 1)
    async with engine.begin() as tx:
        letters = await jobs.find_discarded(tx, job_id)
        request = build_undo(discarded, "ada")
        assert await start_job(tx, request, letters) is not None
        assert await start_job(tx, request, letters) is None, "once"
    await step(resources)
    states = await rows(engine, "select id, state from dead_letters")
    assert dict(states) == {first: "open", second: "open", third: "discarded"}
    history = await rows(
        engine,
        "select actor, action, detail from dead_letter_history where letter_id = :id order by id",
        id=first,
    )
    assert history == [("ada", "discarded", "twice"), ("ada", "undone", "")]


async def test_a_letter_that_fails_again_is_counted_and_named_by_its_job(
    resources: Resources, engine: AsyncEngine
) -> None:
    first, second = await put_letters(engine, 2)
    job_id = await start(engine, [first, second])
    await step(resources)
    again, other = uuid4(), uuid4()
    for forged in (f"replay:{second}:7", f"replay:{second}", "replay:x:1", None):
        await _file(engine, uuid4(), forged, replays=1)
    await _file(engine, other, f"replay:{second}:1", replays=0)
    for _ in range(2):
        await _file(engine, again, f"replay:{first}:1", replays=1)
    async with engine.connect() as tx:
        (progress,) = await jobs.list_progress(tx, now() - timedelta(minutes=1))
        found = await jobs.list_failures(tx, [job_id], 10)
    assert progress.failed_again == 1
    assert [(one.letter_id, one.again_id, one.reason) for one in found] == [
        (first, again, "no campaign has this id")
    ]


async def test_a_replay_that_fails_again_in_its_worker_is_told_to_its_job(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await create(engine)
    await publish(broker, wrong(1, clicks=-5))
    async with consuming(resources, note), filing_dead_letters(resources):

        async def count_letters() -> int:
            return len(await rows(engine, "select id from dead_letters"))

        async def is_filed() -> bool:
            return await count_letters() == 1

        await until(is_filed)
        job_id = await start(engine, [(await rows(engine, "select id from dead_letters"))[0][0]])
        await step(resources)
        await relay_once(resources)

        async def is_filed_again() -> bool:
            return await count_letters() == 2

        await until(is_filed_again)
    ((again, reason),) = await rows(
        engine,
        "select again_id, reason from dead_letter_job_failures where job_id = :id",
        id=job_id,
    )
    assert "data.clicks" in reason
    assert await rows(engine, "select id, state from dead_letters where id = :id", id=again) == [
        (again, "open")
    ]


async def _file(engine: AsyncEngine, again: UUID, message_id: str | None, replays: int) -> None:
    moment = now()
    row = DeadLetterRow(
        id=again,
        queue="metrics.record",
        routing_key=KIND,
        message_id=message_id,
        type=KIND,
        source=None,
        event_id=None,
        body=b"{}",
        properties=OURS,
        reason="no campaign has this id",
        error_class="UNKNOWN_CAMPAIGN",
        stage="handler",
        worker="host",
        attempts=1,
        first_failed_at=moment,
        last_failed_at=moment,
        fingerprint="f",
        replays=replays,
    )
    async with engine.begin() as tx:
        await record_failed_again(tx, [row])
