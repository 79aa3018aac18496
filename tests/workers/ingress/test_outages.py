"""Postgres, the broker or Redis is gone: what can be kept is kept, the rest is 503."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import orjson
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.settings import Settings
from infra.storage.tables import api_keys, outbox
from tests.infra.ledger import until
from tests.proxy import Proxy, open_proxy
from tests.workers.ingress.api.test_events import BATCH, post, report
from tests.workers.ingress.api.test_webhooks import STATUS, send
from tests.workers.ingress.conftest import (
    DRAFT,
    MakeCampaign,
    MakeKey,
    Person,
    Spy,
    body_of,
    error_of,
    serving,
)

CAMPAIGNS = "/api/v1/campaigns"

# How a server is gone: connections are refused, or nothing ever comes back.
Gone = Callable[[Proxy], None]
WAYS = pytest.mark.parametrize("gone", [Proxy.cut, Proxy.freeze], ids=["cut", "frozen"])


def uses(outcome: str) -> float:
    """Count how often keys were shown with this outcome."""
    return REGISTRY.get_sample_value("adrelay_api_key_uses_total", {"outcome": outcome}) or 0


class Plant:
    """The ingress, with a proxy in front of each server."""

    def __init__(
        self, client: aiohttp.ClientSession, database: Proxy, broker: Proxy, redis: Proxy
    ) -> None:
        self.client = client
        self.database = database
        self.broker = broker
        self.redis = redis


@asynccontextmanager
async def open_plant(settings: Settings) -> AsyncIterator[Plant]:
    async with (
        open_proxy(settings.database_url) as database,
        open_proxy(settings.rabbitmq_url) as broker,
        open_proxy(settings.redis_url) as redis,
    ):
        urls = {
            "database_url": database.url(),
            "rabbitmq_url": broker.url(),
            "redis_url": redis.url(),
            "confirm_deadline": 1.0,
            "broker_timeout": 2.0,
        }
        try:
            async with serving(settings.model_copy(update=urls)) as client:
                yield Plant(client, database, broker, redis)
        finally:
            for proxy in (database, broker, redis):
                proxy.cut()


@pytest.fixture
async def plant(settings: Settings) -> AsyncIterator[Plant]:
    async with open_plant(settings) as plant:
        yield plant
        for proxy in (plant.database, plant.broker, plant.redis):
            proxy.heal()


async def stored(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as tx:
        rows = await tx.execute(select(outbox.c.message_id).order_by(outbox.c.id))
        return [row.message_id for row in rows]


@WAYS
async def test_without_postgres_a_cached_campaign_is_answered_and_another_is_503(
    plant: Plant, manager: Person, make_campaign: MakeCampaign, gone: Gone
) -> None:
    known, unknown = await make_campaign(), await make_campaign()
    path = f"{CAMPAIGNS}/{known.id}"
    await body_of(await plant.client.get(path, headers=manager.headers), 200)
    gone(plant.database)
    await body_of(await plant.client.get(path, headers=manager.headers), 200)
    for other in (f"/{unknown.id}", "", f"/{known.id}/metrics"):
        began = time.monotonic()
        response = await plant.client.get(CAMPAIGNS + other, headers=manager.headers)
        assert (await error_of(response, 503))["code"] == "SERVICE_UNAVAILABLE"
        assert response.headers["Retry-After"] == "5"
        assert time.monotonic() - began < 4
    plant.database.heal()
    async with asyncio.timeout(10):
        while (await plant.client.get(CAMPAIGNS, headers=manager.headers)).status != 200:
            await asyncio.sleep(0.1)


@WAYS
async def test_without_postgres_writes_webhooks_and_events_are_accepted(
    plant: Plant,
    settings: Settings,
    manager: Person,
    api_key: str,
    make_campaign: MakeCampaign,
    spy: Spy,
    gone: Gone,
) -> None:
    campaign = await make_campaign()
    await body_of(await post(plant.client, api_key, report("before")), 202)
    assert (await spy.event())["id"] == "before"
    gone(plant.database)
    response = await plant.client.post(CAMPAIGNS, json=DRAFT, headers=manager.headers)
    await body_of(response, 202)
    headers = {**manager.headers, "If-Match": '"3"'}
    response = await plant.client.patch(
        f"{CAMPAIGNS}/{campaign.id}", json={"name": "New"}, headers=headers
    )
    await body_of(response, 202)
    assert (await send(plant.client, settings, STATUS)).status == 200
    await body_of(await post(plant.client, api_key, report("after")), 202)
    types = [event["type"] for event in await spy.events(4)]
    assert types == [
        "campaign.create_requested.v1",
        "campaign.update_requested.v1",
        "campaign.status_reported.v1",
        "campaign.metrics_reported.v1",
    ]


async def test_without_postgres_a_key_that_was_never_seen_is_503(
    plant: Plant, api_key: str
) -> None:
    plant.database.cut()
    await error_of(await post(plant.client, api_key, report()), 503)


async def test_uses_of_a_key_during_an_outage_are_written_after_it(
    plant: Plant, make_api_key: MakeKey, engine: AsyncEngine
) -> None:
    headers = {"X-API-Key": await make_api_key(["campaigns:write"])}
    await body_of(await plant.client.post(CAMPAIGNS, json=DRAFT, headers=headers), 202)
    plant.database.cut()
    before = uses("stale")
    while uses("stale") == before:  # as long as it is remembered nobody asks Postgres
        await body_of(await plant.client.post(CAMPAIGNS, json=DRAFT, headers=headers), 202)
    plant.database.heal()

    async def is_written() -> bool:
        async with engine.connect() as tx:
            return (await tx.execute(select(api_keys.c.last_used_at))).scalar_one() is not None

    await until(is_written)


async def test_an_operation_is_503_without_postgres(plant: Plant, manager: Person) -> None:
    response = await plant.client.post(CAMPAIGNS, json=DRAFT, headers=manager.headers)
    name = (await body_of(response, 202))["data"]["operation_id"]
    plant.database.cut()
    response = await plant.client.get(f"/api/v1/operations/{name}", headers=manager.headers)
    await error_of(response, 503)


@WAYS
async def test_without_the_broker_what_is_accepted_stands_in_the_outbox(
    plant: Plant,
    settings: Settings,
    manager: Person,
    api_key: str,
    engine: AsyncEngine,
    gone: Gone,
) -> None:
    gone(plant.broker)
    began = time.monotonic()
    response = await plant.client.post(CAMPAIGNS, json=DRAFT, headers=manager.headers)
    operation = (await body_of(response, 202))["data"]["operation_id"]
    assert (await send(plant.client, settings, STATUS)).status == 200
    batch = [report(f"m-{number}") for number in range(20)]
    await body_of(await post(plant.client, api_key, batch, BATCH), 202)
    assert time.monotonic() - began < 5
    assert await stored(engine) == [operation, "evt_1", *(f"m-{n}" for n in range(20))]
    async with engine.connect() as tx:
        row = (await tx.execute(select(outbox).order_by(outbox.c.id).limit(1))).one()
    assert row.exchange == "adrelay.events"
    assert row.routing_key == "campaign.create_requested.v1"
    assert orjson.loads(row.body)["id"] == operation
    ready = await body_of(await plant.client.get("/readyz"), 200)
    assert ready["ready"] is True


async def test_a_broker_that_does_not_answer_is_waited_for_once_in_a_while_and_not_by_all(
    plant: Plant, settings: Settings, engine: AsyncEngine
) -> None:
    assert (await send(plant.client, settings, {**STATUS, "id": "evt_0"})).status == 200
    plant.broker.freeze()
    assert (await send(plant.client, settings, {**STATUS, "id": "evt_1"})).status == 200
    began = time.monotonic()
    ids = [f"evt_{number}" for number in range(2, 12)]
    for name in ids:
        assert (await send(plant.client, settings, {**STATUS, "id": name})).status == 200
    assert time.monotonic() - began < 5  # each for itself would have waited 1 s
    assert await stored(engine) == ["evt_1", *ids]


async def test_many_requests_share_the_outbox(
    plant: Plant, settings: Settings, engine: AsyncEngine
) -> None:
    plant.broker.cut()
    ids = [f"evt_{number}" for number in range(500)]
    sending = (send(plant.client, settings, {**STATUS, "id": name}) for name in ids)
    assert {response.status for response in await asyncio.gather(*sending)} == {200}
    assert sorted(await stored(engine)) == sorted(ids)


async def test_the_broker_is_used_again_when_it_is_back(
    plant: Plant, settings: Settings, engine: AsyncEngine, spy: Spy
) -> None:
    plant.broker.cut()
    assert (await send(plant.client, settings, {**STATUS, "id": "evt_0"})).status == 200
    plant.broker.heal()
    async with asyncio.timeout(20):
        number = 1
        while spy.is_empty():
            assert (
                await send(plant.client, settings, {**STATUS, "id": f"e{number}"})
            ).status == 200
            number += 1
            await asyncio.sleep(0.05)
    assert (await stored(engine))[0] == "evt_0"


@WAYS
async def test_without_broker_and_postgres_nothing_is_accepted(
    plant: Plant,
    settings: Settings,
    manager: Person,
    api_key: str,
    engine: AsyncEngine,
    spy: Spy,
    gone: Gone,
) -> None:
    await body_of(await post(plant.client, api_key, report("before")), 202)
    assert (await spy.event())["id"] == "before"
    gone(plant.broker)
    gone(plant.database)
    for sending in (
        plant.client.post(CAMPAIGNS, json=DRAFT, headers=manager.headers),
        send(plant.client, settings, STATUS),
        post(plant.client, api_key, report()),
        post(plant.client, api_key, [report()], BATCH),
    ):
        response = await sending
        assert (await error_of(response, 503))["code"] == "SERVICE_UNAVAILABLE"
        assert response.headers["Retry-After"] == "5"
    assert await stored(engine) == []
    if gone is Proxy.cut:
        async with asyncio.timeout(10):
            while (await plant.client.get("/readyz")).status != 503:
                await asyncio.sleep(0.05)


@WAYS
async def test_without_redis_everything_is_answered_all_the_same(
    plant: Plant, manager: Person, make_campaign: MakeCampaign, spy: Spy, gone: Gone
) -> None:
    campaign = await make_campaign()
    gone(plant.redis)
    path = f"{CAMPAIGNS}/{campaign.id}"
    await body_of(await plant.client.get(path, headers=manager.headers), 200)
    headers = {**manager.headers, "Idempotency-Key": "order-1"}
    response = await plant.client.post(CAMPAIGNS, json=DRAFT, headers=headers)
    first = (await body_of(response, 202))["data"]
    # Another use of the key is left to the inbox: the event has the same id.
    other = {**DRAFT, "name": "Summer"}
    response = await plant.client.post(CAMPAIGNS, json=other, headers=headers)
    assert (await body_of(response, 202))["data"] == first
    events = await spy.events(2)
    assert {event["id"] for event in events} == {first["operation_id"]}
    assert [event["data"]["name"] for event in events] == ["Spring", "Summer"]
