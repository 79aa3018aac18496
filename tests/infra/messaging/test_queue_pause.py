"""A queue or a platform is paused and resumed: nothing is lost, doubled or counted."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from uuid import UUID

import aiohttp
import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsReported, CampaignSyncRequested
from events.campaigns import CampaignSyncRequestedData
from events.envelope import Event, encode
from events.sources import SYNC_SOURCE
from infra.messaging.consumer import Consumer
from infra.messaging.context import Context
from infra.resources import Resources, open_resources
from infra.settings import Settings
from infra.storage.pause_registry import PauseRegistry
from infra.storage.pauses import PauseTarget, delete_pause, pause, stop_queue
from tests.infra.ledger import (
    QUEUE,
    consuming,
    count,
    create,
    depth,
    publish,
    report,
    until,
    write,
    written,
)
from tests.processes import Process, running
from tests.proxy import open_proxy

THE_QUEUE = PauseTarget("queue", QUEUE)
PLATFORM = PauseTarget("platform", "claude")
LANE = "sync.claude"
SYNC_KEY = "campaign.sync_requested.v1.claude"
WORKER = "tests.infra.ledger_worker"
LIMIT = 100  # deliveries after which the broker gives a message up
Reports = list[CampaignMetricsReported]


@pytest.fixture(autouse=True)
async def _ledger(engine: AsyncEngine) -> None:
    await create(engine)


@pytest.fixture
def quick(resources: Resources) -> Resources:
    """Look at the pauses fifty times a second."""
    return quicken(resources)


def quicken(resources: Resources) -> Resources:
    return replace(resources, pauses=PauseRegistry(resources.engine, max_age=0.02))


async def pausing(engine: AsyncEngine, target: PauseTarget = THE_QUEUE) -> None:
    async with engine.begin() as tx:
        assert await pause(tx, target, reason="wrong figures", paused_by="olga")


async def resuming(engine: AsyncEngine, target: PauseTarget = THE_QUEUE) -> None:
    async with engine.begin() as tx:
        assert await delete_pause(tx, target)


async def note(events: Reports, ctx: Context) -> Sequence[Event]:
    await write(ctx.tx, events)
    await asyncio.sleep(0.01)
    return ()


async def is_paused(consumer: Consumer) -> bool:
    """Whether it says so; then nothing is handled any longer."""
    said = consumer.note == "paused: wrong figures by olga"
    assert not (said and consumer.alive)
    return said


async def is_alive(consumer: Consumer) -> bool:
    return consumer.alive and consumer.note is None


async def take_all(broker: AbstractConnection, queue: str) -> int:
    """Take what is in a queue; fails where a message was delivered before."""
    taken = 0
    async with broker.channel() as channel:
        source = await channel.get_queue(queue)
        while (message := await source.get(fail=False, timeout=10)) is not None:
            assert not message.redelivered, (message.headers, message.body)
            assert not message.headers.get("x-delivery-count")
            await message.ack()
            taken += 1
    return taken


@pytest.mark.parametrize("cycles", [5, pytest.param(LIMIT + 1, marks=pytest.mark.long)])
async def test_pauses_under_traffic_isolate_and_dead_letter_no_message(
    quick: Resources, broker: AbstractConnection, engine: AsyncEngine, cycles: int
) -> None:
    sent = 0
    async with consuming(quick, note, batch=20) as consumer:
        for cycle in range(cycles):
            await publish(broker, *(report(sent + n) for n in range(100)))
            sent += 100
            await until(partial(_has, engine, len(await written(engine)) + 1))
            await pausing(engine)
            await until(lambda: is_paused(consumer))
            assert consumer.trouble is None
            if cycle < cycles - 1:
                await resuming(engine)
                await until(lambda: is_alive(consumer))
        # What arrives during a pause waits, and what waits was never delivered.
        await publish(broker, *(report(sent + n) for n in range(100)))
        sent += 100
        handled = await written(engine)
        waiting = await depth(broker, QUEUE)
        assert waiting >= 100
        assert len(handled) + waiting == sent
        assert await take_all(broker, QUEUE) == waiting
        assert await written(engine) == handled
    assert len(set(handled)) == len(handled)
    assert await depth(broker, f"{QUEUE}.dead") == 0
    assert await count(engine, "select count(*) from suspects") == 0


async def test_every_consumer_of_a_queue_follows_and_goes_on_after_the_resume(
    quick: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    other = quicken(quick)
    async with consuming(quick, note) as one, consuming(other, note) as two:
        await until(lambda: is_alive(one))
        await until(lambda: is_alive(two))
        await pausing(engine)
        await until(lambda: is_paused(one))
        await until(lambda: is_paused(two))
        await publish(broker, *(report(n) for n in range(100, 150)))
        assert await depth(broker, QUEUE) == 50
        await resuming(engine)
        await until(lambda: _has(engine, 50))
    assert len(await written(engine)) == 50


def request_push(number: int) -> CampaignSyncRequested:
    data = CampaignSyncRequestedData(campaign_id=UUID(int=number), platform="claude")
    return CampaignSyncRequested(id=f"s-{number}", source=SYNC_SOURCE, data=data)


async def test_a_paused_platform_finishes_its_calls_and_returns_what_waits_uncounted(
    quick: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    begun: list[str] = []
    ends: list[asyncio.Event] = []

    async def push(events: list[CampaignSyncRequested], _: Context) -> Sequence[Event]:
        begun.extend(event.id for event in events)
        ends.append(asyncio.Event())
        await ends[-1].wait()
        return ()

    bodies = [encode(request_push(n)) for n in range(20)]
    lane = {"queue": LANE, "events": (CampaignSyncRequested,), "batch": 2, "parallel": 2}
    async with consuming(quick, push, **lane) as consumer:  # type: ignore[arg-type]
        await pausing(engine, PLATFORM)
        await until(lambda: is_paused(consumer))
        await publish(broker, *bodies, key=SYNC_KEY)
        await resuming(engine, PLATFORM)
        # The first is taken alone. Then six are delivered: two batches in hand, one that waits.
        await until(lambda: _is(len(begun) == 1))
        ends.pop().set()
        await until(lambda: _is(len(begun) == 5))
        await until(lambda: _depth_is(broker, LANE, 20 - 1 - 6))
        await pausing(engine, PLATFORM)
        await until(lambda: _is(consumer.note is not None))
        for end in ends:
            end.set()
        await until(lambda: is_paused(consumer))
        handled = list(begun)
        assert await take_all(broker, LANE) == len(bodies) - len(handled)
        assert len(begun) == len(handled) == 5
    assert len(set(begun)) == len(begun)
    assert await depth(broker, f"{LANE}.dead") == 0


async def test_another_platform_and_other_queues_are_read_meanwhile(
    quick: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await pausing(engine, PLATFORM)
    async with consuming(quick, note) as consumer:
        await publish(broker, report(1))
        await until(lambda: _has(engine, 1))
        assert consumer.note is None


async def test_without_postgres_the_last_known_pause_holds(
    settings: Settings, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    async with open_proxy(settings.database_url) as proxy:
        distant = settings.model_copy(update={"database_url": proxy.url()})
        async with _opened(distant) as far, consuming(far, note) as consumer:
            await until(lambda: is_alive(consumer))
            await pausing(engine)
            await until(lambda: is_paused(consumer))
            proxy.cut()
            await publish(broker, *(report(n) for n in range(100, 120)))
            await resuming(engine)  # the worker cannot know of it
            attempts = proxy.connections
            await until(lambda: _is(proxy.connections > attempts + 3))
            assert await is_paused(consumer)
            assert await depth(broker, QUEUE) == 20
            proxy.heal()
            await until(lambda: _has(engine, 20))
    assert len(await written(engine)) == 20


async def test_a_pause_that_is_not_known_yet_is_neither_assumed_nor_ruled_out(
    settings: Settings, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await publish(broker, report(1))
    async with open_proxy(settings.database_url) as proxy:
        proxy.cut()
        distant = settings.model_copy(update={"database_url": proxy.url()})
        async with _opened(distant) as far, consuming(far, note) as consumer:
            await until(lambda: _is("the pauses cannot be read" in str(consumer.trouble)))
            proxy.heal()
            await until(lambda: _has(engine, 1))


async def test_a_paused_worker_is_ready_says_so_and_may_be_killed(
    settings: Settings, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    async with running(WORKER, settings, LEDGER_SECONDS="0.05", LEDGER_BATCH="20") as worker:
        await publish(broker, *(report(n) for n in range(1000, 1400)))
        await until(lambda: _has(engine, 21))
        await pausing(engine)
        await until(lambda: _says(worker, "paused: wrong figures by olga"))
        await until(lambda: _is_whole(broker, engine, 400))
        # The ingress and publishers go on.
        await publish(broker, *(report(n) for n in range(1400, 1500)))
        handled = len(await written(engine))
        await worker.kill()
        await worker.start()
        await worker.ready()
        await until(lambda: _says(worker, "paused: wrong figures by olga"))
        assert await depth(broker, QUEUE) == 500 - handled
        assert len(await written(engine)) == handled
        await resuming(engine)
        await until(lambda: _has(engine, 500))
        await worker.ready()
    assert len(set(await written(engine))) == len(await written(engine)) == 500
    assert await depth(broker, f"{QUEUE}.dead") == 0


async def test_no_other_code_lifts_a_persons_pause_of_a_stopped_queue(
    quick: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    async with engine.begin() as tx:
        await stop_queue(tx, QUEUE, reason="bad release", version="other", worker="host")
    await pausing(engine)
    await publish(broker, report(1))
    async with consuming(quick, note) as consumer:
        await until(lambda: is_paused(consumer))
        await resuming(engine)
        await until(lambda: _has(engine, 1))
        assert consumer.note is None


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Resources]:
    async with open_resources(settings, "far") as resources:
        yield quicken(resources)


async def _says(worker: Process, words: str) -> bool:
    """Tell whether a worker is ready with a note."""
    url = f"http://127.0.0.1:{worker.port}/readyz"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        body = await answer.json()
        assert answer.status == 200, body
        assert body["checks"][QUEUE]
        return bool(body.get("notes", {}).get(QUEUE) == words)


async def _is_whole(broker: AbstractConnection, engine: AsyncEngine, total: int) -> bool:
    """Tell whether every event is written or ready in the queue: none is in hand."""
    return len(await written(engine)) + await depth(broker, QUEUE) == total


async def _is(truth: bool) -> bool:  # noqa: FBT001 - what is asked for
    return truth


async def _has(engine: AsyncEngine, lines: int) -> bool:
    return len(await written(engine)) >= lines


async def _depth_is(broker: AbstractConnection, queue: str, wanted: int) -> bool:
    return await depth(broker, queue) == wanted
