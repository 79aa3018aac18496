"""A worker process under signals, and under a message that kills it."""

import asyncio
import signal

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.settings import Settings
from tests.infra.ledger import (
    QUEUE,
    body_of,
    create,
    depth,
    headers_of,
    publish,
    report,
    take,
    until,
    written,
)
from tests.processes import Process, running

WORKER = "tests.infra.ledger_worker"
DEAD = f"{QUEUE}.dead"


@pytest.fixture(autouse=True)
async def _ledger(engine: AsyncEngine) -> None:
    await create(engine)


async def test_a_message_that_kills_its_process_is_dead_lettered_and_its_neighbours_are_not(
    settings: Settings, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await publish(broker, *(report(n) for n in range(200)))
    deaths = 0
    killer = Process(WORKER, settings, LEDGER_KILLER="e-77")
    dead = asyncio.create_task(take(broker, DEAD))
    while not dead.done():
        await killer.start()
        ended = asyncio.create_task(killer.ended())
        await asyncio.wait({ended, dead}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            assert ended.result() == -signal.SIGKILL
            deaths += 1
        else:
            await until(lambda: _has(engine, 199))
            killer.send(signal.SIGTERM)
            assert await ended == 0
    assert body_of(dead.result())["id"] == "e-77"
    assert headers_of(dead.result())["error-class"] == "POISON_MESSAGE"
    assert 2 <= deaths <= 10
    assert await written(engine) == sorted(f"e-{n}" for n in range(200) if n != 77)
    assert await depth(broker, QUEUE) == 0
    assert await depth(broker, DEAD) == 0


async def test_sigterm_finishes_what_is_in_hand_and_exits_0(
    settings: Settings, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await publish(broker, *(report(n) for n in range(100, 160)))
    async with running(WORKER, settings, LEDGER_SECONDS="0.3", LEDGER_BATCH="10") as worker:
        await until(lambda: _has(engine, 11))
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0
    done = await written(engine)
    assert len(done) == len(set(done))
    assert len(done) + await depth(broker, QUEUE) == 60
    async with running(WORKER, settings):
        await until(lambda: _has(engine, 60))
    assert await written(engine) == [f"e-{n}" for n in range(100, 160)]
    assert await depth(broker, DEAD) == 0


async def test_what_cannot_be_finished_in_time_goes_back_without_an_attempt(
    settings: Settings, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await publish(broker, report(1))
    slow = {"LEDGER_SECONDS": "60", "SHUTDOWN_DEADLINE": "0.5"}
    async with running(WORKER, settings, **slow) as worker:
        await until(lambda: _depth_is(broker, QUEUE, 0))
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0
    await until(lambda: _depth_is(broker, QUEUE, 1))
    message = await take(broker, QUEUE)
    assert "x-adrelay-attempt" not in message.headers
    assert await written(engine) == []


async def test_a_second_sigterm_exits_at_once(
    settings: Settings, broker: AbstractConnection
) -> None:
    await publish(broker, report(1))
    async with running(WORKER, settings, LEDGER_SECONDS="60") as worker:
        await until(lambda: _depth_is(broker, QUEUE, 0))
        worker.send(signal.SIGTERM)
        await worker.ready(status=503)
        worker.send(signal.SIGTERM)
        assert await worker.ended(5) == 128 + signal.SIGTERM


async def _has(engine: AsyncEngine, lines: int) -> bool:
    return len(await written(engine)) >= lines


async def _depth_is(broker: AbstractConnection, queue: str, messages: int) -> bool:
    return await depth(broker, queue) == messages
