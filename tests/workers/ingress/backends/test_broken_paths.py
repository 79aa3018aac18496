"""While the path to a queue is broken, its events go to the outbox and are accepted."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp import topology, topology_declaration
from infra.messaging.outbox_relay import relay_once
from infra.messaging.topology_monitor import check_once
from infra.resources import Resources
from infra.settings import Settings
from tests.infra.ledger import QUEUE, depth, until
from tests.processes import running
from tests.workers.ingress.api.test_events import BATCH, creation, post, report
from tests.workers.ingress.conftest import body_of
from tests.workers.ingress.test_outages import stored

PATTERN = "campaign.metrics_reported.v1.#"


@pytest.fixture(autouse=True)
async def _mended(broker: AbstractConnection) -> AsyncIterator[None]:
    yield
    await topology_declaration.declare(broker)


async def lose_the_binding(
    settings: Settings, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await check_once(settings, engine)
    async with broker.channel() as channel:
        await (await channel.get_queue(QUEUE)).unbind(topology.WORK_EXCHANGE, PATTERN)
    await check_once(settings, engine)


async def test_events_of_a_broken_path_go_to_the_outbox_and_leave_once_it_is_whole(
    settings: Settings,
    client: aiohttp.ClientSession,
    api_key: str,
    resources: Resources,
    broker: AbstractConnection,
    engine: AsyncEngine,
) -> None:
    await lose_the_binding(settings, broker, engine)
    sent = 0

    async def is_kept() -> bool:
        nonlocal sent
        sent += 1
        await body_of(await post(client, api_key, report(f"m-{sent}")), 202)
        return bool(await stored(engine))

    await until(is_kept)
    await body_of(await post(client, api_key, [report("m-b"), creation("c-b")], BATCH), 202)
    assert await stored(engine) == [f"m-{sent}", "m-b"]
    assert await depth(broker, "campaigns.apply") == 1  # another path
    assert (await client.get("/readyz")).status == 200
    assert await relay_once(resources) == 0
    await topology_declaration.declare(broker)
    await check_once(settings, engine)
    assert await relay_once(resources) == 2
    assert await depth(broker, QUEUE) == 2


async def test_the_worker_concerned_and_the_relay_are_not_ready(
    settings: Settings, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await check_once(settings, engine)
    async with (
        running("workers.metrics", settings) as metrics,
        running("workers.campaigns", settings) as campaigns,
        running("workers.relay", settings) as relay,
    ):
        # The relay notices it by itself.
        async with broker.channel() as channel:
            await (await channel.get_queue(QUEUE)).unbind(topology.WORK_EXCHANGE, PATTERN)
        await metrics.ready(status=503)
        await relay.ready(status=503)
        await campaigns.ready(5)
        await topology_declaration.declare(broker)
        await check_once(settings, engine)
        await metrics.ready()
        await relay.ready()
