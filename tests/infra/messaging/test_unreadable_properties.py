"""Properties that nobody can decode cost at most the one message that carries them."""

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsReported
from events.envelope import encode
from infra.amqp import topology, topology_declaration
from infra.amqp.permissions import OPS_USER, UPSTREAM_USER
from infra.commands.requeue_unrouted import send_again
from infra.messaging.outbox_relay import relay_once
from infra.resources import Resources
from infra.settings import Settings
from tests.handlers.samples import put, running
from tests.infra.commands.test_dead_letters import filing_dead_letters, run_dead_letters
from tests.infra.ledger import (
    QUEUE,
    consuming,
    count,
    create,
    depth,
    report,
    until,
    written,
)
from tests.infra.messaging.test_upstream import note
from tests.infra.parties import CREATE, METRICS, SOURCE, register
from tests.processes import Process
from tests.processes import running as running_process
from tests.raw_amqp.examples import ALL, Sent, send, send_with_pika
from tests.services import as_user, url_as

WORKERS = ("workers.metrics", "workers.campaigns", "workers.relay")
NEIGHBOURS = 50
SECONDS = 15  # until a letter is filed; a second where nothing else runs
LETTERS = "select count(*) from dead_letters"
APPLIED = "select count(*) from campaign_metrics"


@pytest.fixture(autouse=True)
async def _registered(engine: AsyncEngine) -> None:
    await create(engine)
    await register(engine, SOURCE)


@pytest.fixture
def url(settings: Settings) -> str:
    return url_as(UPSTREAM_USER, settings.rabbitmq_url)


async def test_a_valid_event_takes_effect_a_bad_one_is_filed_and_nobody_waits(
    settings: Settings, engine: AsyncEngine, broker: AbstractConnection, url: str
) -> None:
    campaign = running(platform_campaign_id="c-1")
    await put(engine, campaign)
    valid = [(name, METRICS, encode(_report(n))) for n, name in enumerate(ALL)]
    bad = [(name, key, f"bad: {name}".encode()) for name in ALL for key in (METRICS, CREATE)]
    neighbours: list[Sent] = [(METRICS, encode(_report(100 + n)), {}) for n in range(NEIGHBOURS)]
    async with _workers(settings) as workers:
        await send(url, UPSTREAM_USER, *valid, *bad)
        send_with_pika(url, neighbours, user_id=UPSTREAM_USER)
        await until(lambda: _is(engine, APPLIED, len(ALL) + NEIGHBOURS), SECONDS)
        await until(lambda: _is(engine, LETTERS, len(bad)), SECONDS)
        for worker in workers:
            await worker.ready(5)
            assert "Traceback" not in worker.output
    assert await _queues_with_messages(broker) == []
    rows = await _rows(engine, "select error_class, body from dead_letters")
    assert {row.error_class for row in rows} == {"INVALID_EVENT"}
    assert sorted(row.body for row in rows) == sorted(body for _, _, body in bad)


@pytest.mark.parametrize("name", ALL)
async def test_a_valid_event_that_waits_at_the_head_takes_effect_first(
    resources: Resources, engine: AsyncEngine, url: str, name: str
) -> None:
    await send(url, UPSTREAM_USER, (name, METRICS, encode(_report(1))))
    send_with_pika(url, [(METRICS, encode(_report(2)), {})], user_id=UPSTREAM_USER)
    async with consuming(resources, note) as consumer:
        await until(lambda: _are(engine, ["e-1", "e-2"]), 10)
        assert consumer.alive


@pytest.mark.parametrize("name", ALL)
async def test_a_bad_event_that_waits_at_the_head_dies_first(
    resources: Resources, engine: AsyncEngine, broker: AbstractConnection, url: str, name: str
) -> None:
    await send(url, UPSTREAM_USER, (name, METRICS, b"bad"))
    send_with_pika(url, [(METRICS, encode(_report(2)), {})], user_id=UPSTREAM_USER)
    async with consuming(resources, note) as consumer:
        await until(lambda: _are(engine, ["e-2"]), 10)
        assert consumer.alive
    assert await depth(broker, topology.dead_queue(QUEUE)) == 1


async def test_what_the_broker_itself_gave_up_is_filed(
    settings: Settings,
    resources: Resources,
    engine: AsyncEngine,
    broker: AbstractConnection,
    url: str,
) -> None:
    await send(
        url, UPSTREAM_USER, *((name, METRICS, name.encode()) for name in ALL), expiration="1"
    )
    send_with_pika(url, [(METRICS, b"plain", {})], user_id=UPSTREAM_USER, expiration="1")
    await until(lambda: _holds(broker, topology.dead_queue(QUEUE), len(ALL) + 1))
    async with filing_dead_letters(resources):
        await until(lambda: _is(engine, LETTERS, len(ALL) + 1), SECONDS)
    rows = await _rows(engine, "select id, error_class, body from dead_letters")
    # A header x-death of the publisher's own may stand before the broker's.
    told = {row.error_class for row in rows if row.body != b"a name twice"}
    assert told == {"expired"}
    assert {row.body.decode() for row in rows} == {*ALL, "plain"}
    status, lines = await run_dead_letters(settings, "list")
    assert (status, len(lines)) == (0, len(ALL) + 1)
    (everything,) = [row.id for row in rows if row.body == b"everything at once"]
    status, [letter] = await run_dead_letters(settings, "show", str(everything))
    assert (status, letter["id"]) == (0, str(everything))


async def test_what_lost_its_queue_is_sent_again(
    settings: Settings,
    resources: Resources,
    engine: AsyncEngine,
    broker: AbstractConnection,
    url: str,
) -> None:
    async with broker.channel() as channel:
        queue = await channel.get_queue(QUEUE)
        await queue.unbind(topology.WORK_EXCHANGE, f"{CampaignMetricsReported.event_type()}.#")
    try:
        messages = [(name, METRICS, encode(_report(n))) for n, name in enumerate(ALL)]
        await send(url, UPSTREAM_USER, *messages, ("message_id", METRICS, b"bad"))
    finally:
        await topology_declaration.declare(broker)
    went = len(ALL) + 1
    assert await send_again(as_user(OPS_USER, settings), engine) == (went, 0)
    assert await relay_once(resources) == went
    async with consuming(resources, note):
        await until(lambda: _are(engine, [f"e-{n}" for n in range(len(ALL))]), SECONDS)
        await until(lambda: _holds(broker, topology.dead_queue(QUEUE), 1))
    assert await depth(broker, topology.UNROUTED) == 0


def _report(number: int) -> CampaignMetricsReported:
    """Make a report of a day of its own."""
    data = report(number + 1).data.model_dump(exclude_none=True)
    day = dt.date(2025, 1, 1) + dt.timedelta(days=number)
    return report(number, source=SOURCE, data=data | {"date": day})


@asynccontextmanager
async def _workers(settings: Settings) -> AsyncIterator[list[Process]]:
    async with AsyncExitStack() as held:
        yield [await held.enter_async_context(running_process(name, settings)) for name in WORKERS]


async def _queues_with_messages(broker: AbstractConnection) -> list[str]:
    names = (*topology.WORK_QUEUE_NAMES, *map(topology.dead_queue, topology.WORK_QUEUE_NAMES))
    return [name for name in names if await depth(broker, name)]


async def _rows(engine: AsyncEngine, sql: str) -> Sequence[Any]:
    async with engine.connect() as connection:
        return (await connection.execute(text(sql))).all()


async def _is(engine: AsyncEngine, sql: str, number: int) -> bool:
    return await count(engine, sql) == number


async def _are(engine: AsyncEngine, ids: list[str]) -> bool:
    return set(await written(engine)) == set(ids)


async def _holds(broker: AbstractConnection, queue: str, number: int) -> bool:
    return await depth(broker, queue) == number
