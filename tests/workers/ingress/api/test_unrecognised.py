"""An unrecognised webhook: 200, a dead letter, and replayed after a fix."""

from typing import Any

import aiohttp
import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import WebhookUnrecognised
from events.envelope import now
from handlers.webhooks import gemini
from handlers.webhooks.base import MAX_KEPT_BYTES, build_unrecognised
from infra.amqp import topology
from infra.amqp.message import build_message
from infra.messaging.outbox_relay import relay_once
from infra.resources import Resources
from infra.settings import Settings
from tests.infra.ledger import until
from tests.workers.ingress.api.test_webhooks import METRICS, signed
from tests.workers.ingress.conftest import Person, Spy, body_of, working
from workers import relay

QUEUE = "webhooks.unrecognised"
PATH = f"/api/v1/dead/{QUEUE}"
SUBSCRIPTIONS = [s for s in relay.SUBSCRIPTIONS if s.queue in (QUEUE, topology.dead_queue(QUEUE))]
KIND = "campaign.metrics_reported.v1"
DATA: Any = METRICS["data"]
BROKEN: dict[str, Any] = {**METRICS, "data": {**DATA, "clicks": "two"}}


async def letters(engine: AsyncEngine) -> list[Any]:
    query = "select * from dead_letters order by first_failed_at, id"
    async with engine.connect() as tx:
        return list((await tx.execute(text(query))).mappings())


async def filed(engine: AsyncEngine, count: int = 1) -> list[Any]:
    async def all_there() -> bool:
        return len(await letters(engine)) == count

    await until(all_there)
    return await letters(engine)


async def send(client: aiohttp.ClientSession, settings: Settings, body: bytes) -> None:
    response = await client.post("/webhooks/claude", data=body, headers=signed(settings, body))
    assert await body_of(response, 200) == {"received": True}


async def test_an_unrecognised_webhook_is_a_dead_letter_that_is_replayed_after_a_fix(
    client: aiohttp.ClientSession,
    settings: Settings,
    admin: Person,
    engine: AsyncEngine,
    resources: Resources,
    spy: Spy,
) -> None:
    body = orjson.dumps(BROKEN)
    began = now()
    async with working(settings, *SUBSCRIPTIONS):
        await send(client, settings, body)
        [letter] = await filed(engine)
        assert (letter["queue"], letter["stage"]) == (QUEUE, "parse")
        assert letter["error_class"] == "UNRECOGNISED"
        assert letter["source"] == "urn:adrelay:webhook:claude"
        assert "clicks" in letter["reason"]
        event = await spy.event()
        listed = await body_of(await client.get(PATH, headers=admin.headers), 200)
        assert [entry["id"] for entry in listed["data"]] == [str(letter["id"])]

        url = f"{PATH}/{letter['id']}"
        mended = {"changes": {"data.body": orjson.dumps(METRICS).decode()}}
        answer = await client.patch(url, json=mended, headers=admin.headers)
        assert (await body_of(answer, 200))["data"]["wrong"] is None
        await body_of(await client.post(f"{url}/replay", headers=admin.headers), 200)
        found: list[Any] = []

        async def understood() -> bool:
            await relay_once(resources)
            while not spy.is_empty():
                found.append(await spy.event())
            return any(one["type"] == KIND for one in found)

        await until(understood)
    [news] = [one for one in found if one["type"] == KIND]
    assert news["id"] == METRICS["id"]
    assert news["source"] == "urn:adrelay:webhook:claude"
    assert news["data"]["clicks"] == DATA["clicks"]
    assert news["time"] == event["time"]
    assert news["time"] >= began.isoformat()[:19]


async def test_what_is_understood_by_now_takes_effect_under_the_senders_id(
    settings: Settings, resources: Resources, engine: AsyncEngine, spy: Spy
) -> None:
    """As after a release that knows more than the one that the webhook came to."""
    batch = {"events": [METRICS, {**METRICS, "id": "evt_3"}]}
    kept = [
        build_unrecognised("claude", "not known then", orjson.dumps(METRICS), None),
        build_unrecognised("gemini", "not known then", orjson.dumps(batch), "msg_7"),
        build_unrecognised("chatgpt", "not known then", orjson.dumps(METRICS), "msg_8"),
    ]
    async with working(settings, *SUBSCRIPTIONS):
        for event in kept:
            await resources.publisher.publish(build_message(event))
        seen = [(await spy.event())["type"] for _ in kept]
        assert set(seen) == {"webhook.unrecognised.v1"}
        found: list[Any] = []

        async def all_there() -> bool:
            await relay_once(resources)
            while not spy.is_empty():
                found.append(await spy.event())
            return len(found) == 4

        await until(all_there)
    assert {(event["source"].rpartition(":")[2], event["id"]) for event in found} == {
        ("claude", "evt_2"),
        ("gemini", "msg_7/0"),
        ("gemini", "msg_7/1"),
        ("chatgpt", "msg_8"),
    }
    assert await letters(engine) == []


@pytest.mark.parametrize(
    "body",
    [b"x" * 300_000, b"\xff" * 300_000, b"\x01" * 300_000, ("ä" * 150_000).encode()],
    ids=["text", "no text", "escaped", "two bytes"],
)
async def test_of_a_large_body_the_beginning_is_kept_and_said_so(
    client: aiohttp.ClientSession, settings: Settings, engine: AsyncEngine, spy: Spy, body: bytes
) -> None:
    async with working(settings, *SUBSCRIPTIONS):
        await send(client, settings, body)
        [letter] = await filed(engine)
    data = orjson.loads(letter["body"])["data"]
    assert data["body_bytes"] == 300_000
    assert MAX_KEPT_BYTES // 8 < len(letter["body"]) < 2 * MAX_KEPT_BYTES
    assert letter["stage"] == "parse"
    assert "only the beginning of its 300000 bytes is kept" in letter["reason"]
    assert not spy.is_empty()


async def test_a_batch_of_which_a_part_is_understood_loses_nothing(
    settings: Settings, engine: AsyncEngine, resources: Resources
) -> None:
    body = orjson.dumps({"events": [METRICS, BROKEN]})
    known, unknown = gemini.parse_events(body, "msg_9")
    assert known.id == "msg_9/0"
    assert isinstance(unknown, WebhookUnrecognised)
    async with working(settings, *SUBSCRIPTIONS):
        await resources.publisher.publish(build_message(unknown))
        [letter] = await filed(engine)
    assert (letter["event_id"], letter["stage"]) == ("msg_9/1", "parse")
