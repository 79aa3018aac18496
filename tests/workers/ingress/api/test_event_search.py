"""``GET /api/v1/events``: the doors of the ingress, and who sees what."""

from typing import Any
from uuid import uuid4

import aiohttp
import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from handlers.campaigns.handlers import apply_commands
from infra.messaging.outbox_relay import relay_once
from infra.resources import Resources
from infra.settings import Settings
from tests.infra.indexing import indexed, indexing
from tests.infra.ledger import until
from tests.workers.ingress.api.test_webhooks import METRICS, send
from tests.workers.ingress.conftest import (
    DRAFT,
    SOURCE,
    MakeKey,
    Person,
    body_of,
    error_of,
    serving,
    working,
)
from workers.campaigns import SUBSCRIPTIONS

PATH = "/api/v1/events"
JSON = {"Content-Type": "application/cloudevents+json"}
REPORT = {
    "platform": "claude",
    "platform_campaign_id": "c-1",
    "date": "2026-11-22",
    "impressions": 1,
    "clicks": 0,
    "conversions": 0,
    "spend": 0,
}

BREAK = text("insert into routing (id, broken) values (1, array['metrics.record'])")
MEND = text("delete from routing")


def to_event(**fields: Any) -> dict[str, Any]:
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": uuid4().hex,
        "source": SOURCE,
        "type": "campaign.metrics_reported.v1",
    }
    return event | {"data": REPORT} | fields


async def publish(client: aiohttp.ClientSession, key: str, event: dict[str, Any]) -> None:
    headers = {"X-API-Key": key, **JSON}
    await body_of(await client.post(PATH, data=orjson.dumps(event), headers=headers), 202)


async def find(
    client: aiohttp.ClientSession, headers: dict[str, str], **query: str
) -> dict[str, Any]:
    response = await client.get(PATH, params=query, headers=headers)
    found: dict[str, Any] = (await body_of(response, 200))["data"]
    return found


async def test_an_event_over_http_tells_its_route_and_key(
    client: aiohttp.ClientSession,
    resources: Resources,
    engine: AsyncEngine,
    make_api_key: MakeKey,
    admin: Person,
) -> None:
    key = await make_api_key(("events:publish", "events:read"))
    event = to_event(subject="s-1")
    async with indexing(resources):
        await publish(client, key, event)
        await indexed(engine, event["id"])
    for headers in ({"X-API-Key": key}, admin.headers):
        (found,) = (await find(client, headers, id=event["id"], source=SOURCE))["events"]
        (accepted,) = found["accepted"]
        assert accepted["door"].startswith("http POST /api/v1/events key=")
        assert accepted["how"] == "confirmed"
        assert [one["state"] for one in found["queues"]] == ["queued"]


async def test_an_event_that_the_broker_does_not_take_tells_its_door_from_the_outbox(
    client: aiohttp.ClientSession,
    settings: Settings,
    resources: Resources,
    engine: AsyncEngine,
    make_api_key: MakeKey,
) -> None:
    headers = {"X-API-Key": await make_api_key(("events:publish", "events:read"))}
    event = to_event()
    async with engine.begin() as tx:
        await tx.execute(BREAK)
    async with serving(settings) as other:  # it remembers for a while what is broken
        await publish(other, headers["X-API-Key"], event)
    (found,) = (await find(client, headers, id=event["id"]))["events"]
    assert found["queues"][0]["state"] == "outbox"
    async with engine.begin() as tx:
        await tx.execute(MEND)
    async with indexing(resources):
        await relay_once(resources)
        await indexed(engine, event["id"])
    (found,) = (await find(client, headers, id=event["id"]))["events"]
    accepted = found["accepted"][-1]
    assert accepted["how"] == "outbox"
    assert accepted["door"].startswith("http POST /api/v1/events key=")


async def test_a_webhook_tells_its_source_and_the_slot_of_its_secret(
    client: aiohttp.ClientSession,
    resources: Resources,
    engine: AsyncEngine,
    settings: Settings,
    admin: Person,
) -> None:
    name = uuid4().hex
    news = METRICS | {"id": name}
    async with indexing(resources):
        await body_of(await send(client, settings, news), 200)
        await indexed(engine, name)
    (found,) = (await find(client, admin.headers, id=name))["events"]
    assert found["accepted"][0]["door"] == "webhook claude slot=1"
    assert found["source"] == "urn:adrelay:webhook:claude"


async def test_an_operation_is_followed_to_what_it_caused(
    client: aiohttp.ClientSession,
    resources: Resources,
    engine: AsyncEngine,
    settings: Settings,
    manager: Person,
    admin: Person,
    make_api_key: MakeKey,
) -> None:
    apply = next(one for one in SUBSCRIPTIONS if one.handler is apply_commands)
    async with indexing(resources), working(settings, apply):
        response = await client.post("/api/v1/campaigns", json=DRAFT, headers=manager.headers)
        accepted = (await body_of(response, 202))["data"]

        async def is_relayed() -> bool:
            return await relay_once(resources) > 0

        await until(is_relayed)
        await indexed(engine, accepted["id"], 2)
    operation = accepted["operation_id"]
    (found,) = (await find(client, admin.headers, operation=operation))["events"]
    assert found["operation"]["state"] == "done"
    assert found["accepted"][0]["door"] == f"http POST /api/v1/campaigns user={manager.id}"
    assert [one["type"] for one in found["caused"]] == ["campaign.saved.v1"]
    assert [one["queue"] for one in found["caused"][0]["queues"]] == ["sync.claude"]
    (listed,) = (await find(client, admin.headers, campaign=accepted["id"]))["events"]
    assert listed["id"] == operation
    assert len(listed["caused"]) == 1

    own = {"X-API-Key": await make_api_key(("events:read",), owner=manager.id)}
    foreign = {"X-API-Key": await make_api_key(("events:read",), owner=admin.id)}
    assert len((await find(client, own, operation=operation))["events"]) == 1
    assert (await find(client, foreign, operation=operation))["events"] == []
    assert (await find(client, own, id=operation))["events"] == []


async def test_a_key_sees_nothing_of_a_foreign_source_whatever_it_publishes(
    client: aiohttp.ClientSession,
    resources: Resources,
    engine: AsyncEngine,
    make_api_key: MakeKey,
) -> None:
    owner = await make_api_key(("events:publish", "events:read"), (SOURCE,))
    other = await make_api_key(("events:publish", "events:read"), ("urn:other",))
    shared = {"subject": uuid4().hex, "correlationid": uuid4().hex}
    event = to_event(**shared)
    # The same id, the cause of it, and the cause by its source.
    forged = to_event(source="urn:other", causationid=event["id"], causationsource=SOURCE)
    async with indexing(resources):
        await publish(client, owner, event)
        await publish(client, other, to_event(id=event["id"], source="urn:other"))
        await publish(client, other, forged)
        await indexed(engine, event["id"], 2)
        await indexed(engine, forged["id"])
    asked = {
        "id": event["id"],
        "subject": shared["subject"],
        "correlation": shared["correlationid"],
    }
    for field, value in asked.items():
        seen = (await find(client, {"X-API-Key": other}, **{field: value}))["events"]
        assert {one["source"] for one in seen} <= {"urn:other"}
        mine = (await find(client, {"X-API-Key": owner}, **{field: value}))["events"]
        assert [(one["source"], one["caused"]) for one in mine] == [(SOURCE, [])]
    foreign = await find(client, {"X-API-Key": other}, id=event["id"], source=SOURCE)
    absent = await find(client, {"X-API-Key": other}, id=uuid4().hex, source=SOURCE)
    assert foreign["events"] == absent["events"] == []


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"id": ""},
        {"id": "a", "subject": "b"},
        {"source": "urn:x"},
        {"subject": "b", "source": "urn:x"},
        {"subject": "b", "after": "1"},
        {"subject": "b", "limit": "101"},
        {"id": "a\0b"},
        {"other": "b"},
    ],
    ids=str,
)
async def test_a_query_that_names_not_exactly_one_thing_is_rejected(
    client: aiohttp.ClientSession, admin: Person, query: dict[str, str]
) -> None:
    response = await client.get(PATH, params=query, headers=admin.headers)
    assert (await error_of(response, 400))["code"] == "VALIDATION_ERROR"


async def test_neither_a_manager_nor_a_key_without_the_scope_may_look(
    client: aiohttp.ClientSession, manager: Person, api_key: str
) -> None:
    for headers in (manager.headers, {"X-API-Key": api_key}):
        response = await client.get(PATH, params={"id": "a"}, headers=headers)
        assert (await error_of(response, 403))["code"] == "FORBIDDEN"
