"""A command never overtakes an earlier one of its campaign that is in the outbox."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from redis.asyncio import Redis
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.messaging import outbox_keys
from infra.messaging.outbox_relay import relay_once, relay_outbox
from infra.resources import Resources
from infra.settings import Settings
from infra.storage.tables import campaigns as table
from infra.storage.tables import outbox
from tests.infra.ledger import until
from tests.proxy import open_proxy
from tests.workers.ingress.api.test_events import BATCH, post, report
from tests.workers.ingress.conftest import (
    SOURCE,
    MakeCampaign,
    Person,
    Spy,
    body_of,
    error_of,
    serving,
    working,
)
from tests.workers.ingress.test_outages import Plant, open_plant
from workers import campaigns

PATH = "/api/v1/campaigns"
COMMANDS = campaigns.SUBSCRIPTIONS[0]


@pytest.fixture
async def plant(settings: Settings) -> AsyncIterator[Plant]:
    async with open_plant(settings) as plant:
        yield plant
        for proxy in (plant.database, plant.broker, plant.redis):
            proxy.heal()


async def command(client: aiohttp.ClientSession, person: Person, campaign: Any, verb: str) -> str:
    """Pause or resume a campaign, which has to be accepted."""
    response = await client.post(f"{PATH}/{campaign}/{verb}", headers=person.headers)
    found: str = (await body_of(response, 202))["data"]["operation_id"]
    return found


async def waiting(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as tx:
        rows = await tx.execute(select(outbox.c.message_id).order_by(outbox.c.id))
        return [row.message_id for row in rows]


@asynccontextmanager
async def relaying(*several: Resources) -> AsyncIterator[None]:
    """Run a relay on each of these."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(relay_outbox(resources, stop)) for resources in several]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def ends(engine: AsyncEngine, campaign: Any, versions: int) -> str:
    """Wait until a campaign has this version; tells which status is wanted then."""

    async def row() -> Any:
        async with engine.connect() as tx:
            return (await tx.execute(select(table).where(table.c.id == campaign))).one()

    async def is_there() -> bool:
        return bool((await row()).version >= versions)

    await until(is_there)
    return str((await row()).desired_status)


async def pause_into_the_outbox(
    plant: Plant, manager: Person, campaign: Any, engine: AsyncEngine
) -> None:
    """Pause it while the broker takes nothing, and wait until the broker takes all again."""
    plant.broker.cut()
    first = await command(plant.client, manager, campaign, "pause")
    assert await waiting(engine) == [first]
    plant.broker.heal()


async def works_again(client: aiohttp.ClientSession, api_key: str, spy: Spy) -> None:
    """Wait until what has no order goes to the broker directly."""
    async with asyncio.timeout(20):
        while spy.is_empty():
            await body_of(await post(client, api_key, report(uuid4().hex)), 202)
            await asyncio.sleep(0.05)


async def test_a_resume_does_not_overtake_the_pause_in_the_outbox(
    plant: Plant,
    settings: Settings,
    resources: Resources,
    manager: Person,
    api_key: str,
    make_campaign: MakeCampaign,
    engine: AsyncEngine,
    spy: Spy,
) -> None:
    campaign = (await make_campaign()).id
    await pause_into_the_outbox(plant, manager, campaign, engine)
    await works_again(plant.client, api_key, spy)
    await command(plant.client, manager, campaign, "resume")
    async with relaying(resources), working(settings, COMMANDS):
        assert await ends(engine, campaign, 5) == "active"
    assert await waiting(engine) == []


@pytest.mark.parametrize("redis_is", ["there", "cut off from the first", "emptied"])
async def test_nor_does_it_by_another_process(
    plant: Plant,
    settings: Settings,
    resources: Resources,
    manager: Person,
    make_campaign: MakeCampaign,
    engine: AsyncEngine,
    redis: Redis,
    redis_is: str,
) -> None:
    campaign = (await make_campaign()).id
    async with serving(settings) as second:
        if redis_is == "cut off from the first":
            plant.redis.cut()
        await pause_into_the_outbox(plant, manager, campaign, engine)
        if redis_is == "emptied":
            await redis.flushdb()
        await command(second, manager, campaign, "resume")
        assert len(await waiting(engine)) == 2
        async with relaying(resources), working(settings, COMMANDS):
            assert await ends(engine, campaign, 5) == "active"
            # Once its rows are gone, the way over the outbox is over too.
            await command(second, manager, campaign, "pause")
            assert await ends(engine, campaign, 6) == "paused"


@pytest.mark.parametrize(
    ("redis_is", "status"), [("there", 503), ("emptied", 503), ("knowing of none", 202)]
)
async def test_while_postgres_is_down_redis_knows_the_order_or_commands_are_rejected(
    settings: Settings,
    manager: Person,
    make_campaign: MakeCampaign,
    redis: Redis,
    redis_is: str,
    status: int,
) -> None:
    campaign = (await make_campaign()).id
    async with (
        open_proxy(settings.database_url) as database,
        serving(settings.model_copy(update={"database_url": database.url()})) as client,
    ):
        path = f"{PATH}/{campaign}"
        await body_of(await client.get(path, headers=manager.headers), 200)
        if redis_is == "there":
            await outbox_keys.add_keys(redis, [str(campaign)])
        if redis_is == "emptied":
            await redis.delete(outbox_keys.ALL_KEYS_PRESENT)
        database.cut()
        response = await client.post(f"{path}/pause", headers=manager.headers)
        if status == 202:
            await body_of(response, 202)
        else:
            assert (await error_of(response, 503))["code"] == "SERVICE_UNAVAILABLE"


def change(campaign: Any, event_id: str, status: str) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": SOURCE,
        "type": "campaign.update_requested.v1",
        "data": {"campaign_id": str(campaign), "status": status},
    }


async def test_events_of_upstream_systems_keep_their_order_too(
    plant: Plant,
    settings: Settings,
    resources: Resources,
    api_key: str,
    manager: Person,
    make_campaign: MakeCampaign,
    engine: AsyncEngine,
) -> None:
    campaign, other = (await make_campaign()).id, (await make_campaign()).id
    async with serving(settings) as second:
        await pause_into_the_outbox(plant, manager, campaign, engine)
        await body_of(await post(second, api_key, change(campaign, "u-1", "active")), 202)
        batch = [
            change(campaign, "u-2", "paused"),
            change(other, "u-3", "paused"),
            change(campaign, "u-4", "active"),
            change(other, "u-5", "active"),
        ]
        await body_of(await post(second, api_key, batch, BATCH), 202)
        assert (await waiting(engine))[1:] == ["u-1", "u-2", "u-4"]
        async with relaying(resources), working(settings, COMMANDS):
            assert await ends(engine, campaign, 7) == "active"
            assert await ends(engine, other, 5) == "active"


async def test_two_relays_have_one_command_of_a_campaign_in_flight(
    resources: Resources,
    plant: Plant,
    api_key: str,
    engine: AsyncEngine,
    spy: Spy,
) -> None:
    plant.broker.cut()
    ids = [uuid4() for _ in range(3)]
    batch = [change(ids[n % 3], f"{n % 3}-{n:02}", "paused") for n in range(30)]
    await body_of(await post(plant.client, api_key, batch, BATCH), 202)
    moved = await asyncio.gather(relay_once(resources), relay_once(resources))
    # Nothing but the oldest of each, and what came after one was gone.
    assert all(count <= len(ids) for count in moved)
    async with relaying(resources, resources, resources):
        events = [event["id"] for event in await spy.events(30)]
    for campaign in "012":
        own = [name for name in events if name.startswith(campaign)]
        assert own == sorted(own)
        assert len(own) == 10
    assert await waiting(engine) == []
