"""Dead letters over HTTP: filed from a queue, edited, replayed and discarded."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp
import orjson
import pytest
from aio_pika import Message
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp import topology
from infra.amqp.permissions import INGRESS_USER
from infra.messaging.outbox_relay import relay_once
from infra.resources import Resources
from infra.settings import Settings
from infra.storage.dead_letters import DeadLetterRow, put_dead_letters
from tests.infra.ledger import until
from tests.workers.ingress.conftest import (
    MakeCampaign,
    Person,
    body_of,
    error_of,
    working,
)
from workers import metrics, relay
from workers.ingress.api.dead_letter_batches import MAX_DEAD_LETTERS

PATH = "/api/v1/dead"
QUEUE = "metrics.record"
NOON = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
UNKNOWN = f"{PATH}/{QUEUE}/{UUID(int=2)}"


async def rows(engine: AsyncEngine, sql: str) -> list[Any]:
    async with engine.connect() as connection:
        return list((await connection.execute(text(sql))).all())


def make_dead_letter(number: int = 1, **changes: Any) -> DeadLetterRow:
    event = {
        "specversion": "1.0",
        "id": f"e-{number}",
        "source": "urn:acme:crm",
        "type": "campaign.metrics_reported.v1",
        "data": {"platform": "claude", "clicks": -5},
    }
    moment = NOON + timedelta(minutes=number)
    values: dict[str, Any] = {
        "id": UUID(int=number),
        "queue": QUEUE,
        "routing_key": "campaign.metrics_reported.v1.claude",
        "message_id": f"m-{number}",
        "type": event["type"],
        "source": event["source"],
        "event_id": event["id"],
        "body": orjson.dumps(event),
        "properties": {
            "content_type": "application/cloudevents+json",
            "type": event["type"],
            "correlation_id": "",
            "headers": {},
        },
        "reason": "data.clicks: Input should be greater than or equal to 0",
        "error_class": "INVALID_EVENT",
        "stage": "decode",
        "worker": "host",
        "attempts": 1,
        "first_failed_at": moment,
        "last_failed_at": moment,
        "fingerprint": "f1",
        "replays": 0,
    }
    return DeadLetterRow(**{**values, **changes})


async def insert_dead_letters(engine: AsyncEngine, *letters: DeadLetterRow) -> Sequence[str]:
    """File letters; gives their addresses."""
    async with engine.begin() as tx:
        await put_dead_letters(tx, letters)
    return [f"{PATH}/{one.queue}/{one.id}" for one in letters]


async def acts(engine: AsyncEngine) -> list[Any]:
    return await rows(engine, "select action, outcome, subject from audit order by at")


@pytest.fixture
async def _workers(settings: Settings) -> AsyncIterator[None]:
    async with working(settings, *metrics.SUBSCRIPTIONS, *relay.SUBSCRIPTIONS):
        yield


@pytest.mark.usefixtures("_workers")
async def test_a_dead_letter_is_listed_read_edited_and_replayed_and_takes_effect(
    client: aiohttp.ClientSession,
    admin: Person,
    make_campaign: MakeCampaign,
    broker: AbstractConnection,
    engine: AsyncEngine,
    resources: Resources,
) -> None:
    campaign = await make_campaign()
    event = orjson.loads(make_dead_letter().body)
    figures = {"date": "2026-11-22", "impressions": 10, "conversions": 0, "spend": 1}
    event["data"] |= {"campaign_id": str(campaign.id), **figures}
    async with broker.channel() as channel:
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE, ensure=False)
        message = Message(
            orjson.dumps(event), content_type="application/cloudevents+json", user_id=INGRESS_USER
        )
        await exchange.publish(message, "campaign.metrics_reported.v1.claude")

    async def listed() -> list[Any]:
        found = await client.get(PATH, headers=admin.headers)
        data: list[Any] = (await body_of(found, 200))["data"]
        return data

    async def is_filed() -> bool:
        return len(await listed()) == 1

    await until(is_filed)
    (entry,) = await listed()
    assert "data.clicks" in entry["reason"]
    path = f"{PATH}/{entry['queue']}/{entry['id']}"
    shown = (await body_of(await client.get(path, headers=admin.headers), 200))["data"]
    assert orjson.loads(shown["body"]) == event
    assert {**shown, **entry} == shown
    changes = {"changes": {"data.clicks": 5}}
    mended = await client.patch(path, json=changes, headers=admin.headers)
    assert (await body_of(mended, 200))["data"] == {"id": entry["id"], "wrong": None}
    replayed = await client.post(f"{path}/replay", headers=admin.headers)
    assert (await body_of(replayed, 200))["data"] == {"count": 1, "more": False}

    async def has_taken_effect() -> bool:
        await relay_once(resources)
        return await rows(engine, "select clicks from campaign_metrics") == [(5,)]

    await until(has_taken_effect)
    again = await client.post(f"{path}/replay", headers=admin.headers)
    assert (await error_of(again, 409))["code"] == "CONFLICT"
    (row,) = await rows(engine, "select state, acted_by from dead_letters")
    assert row == ("replayed", f"user:{admin.id}")
    assert await acts(engine) == [
        ("dead_letter.edit", "ok", entry["id"]),
        ("dead_letter.replay", "ok", entry["id"]),
        ("dead_letter.replay", "CONFLICT", entry["id"]),
    ]


async def test_dead_letters_are_listed_by_queue_state_and_fingerprint_the_oldest_first(
    client: aiohttp.ClientSession, admin: Person, engine: AsyncEngine
) -> None:
    paths = await insert_dead_letters(
        engine,
        make_dead_letter(3),
        make_dead_letter(1),
        make_dead_letter(2, fingerprint="f2"),
        make_dead_letter(4, queue="campaigns.apply"),
    )
    await body_of(await client.post(f"{paths[1]}/discard", headers=admin.headers), 200)

    async def numbers(path: str, **query: str) -> list[int]:
        found = await body_of(await client.get(path, headers=admin.headers, params=query), 200)
        assert "body" not in found["data"][0]
        return [UUID(entry["id"]).int for entry in found["data"]]

    assert await numbers(PATH) == [2, 3, 4]
    assert await numbers(f"{PATH}/{QUEUE}") == [2, 3]
    assert await numbers(f"{PATH}/{QUEUE}", state="all") == [1, 2, 3]
    assert await numbers(PATH, state="discarded") == [1]
    assert await numbers(PATH, fingerprint="f1") == [3, 4]
    assert await numbers(PATH, page="2", per_page="2") == [4]


async def test_the_dead_letters_of_a_queue_are_replayed_and_discarded_by_fingerprint(
    client: aiohttp.ClientSession, admin: Person, engine: AsyncEngine
) -> None:
    await insert_dead_letters(
        engine, *(make_dead_letter(n, fingerprint=f"f{n % 2}") for n in range(1, 6))
    )
    await insert_dead_letters(engine, make_dead_letter(6, queue="campaigns.apply"))
    queue = f"{PATH}/{QUEUE}"
    query = {"fingerprint": "f0", "new_id": "true"}
    replayed = await client.post(f"{queue}/replay", headers=admin.headers, params=query)
    assert (await body_of(replayed, 200))["data"] == {"count": 2, "more": False}
    discarded = await client.post(f"{queue}/discard", headers=admin.headers)
    assert (await body_of(discarded, 200))["data"] == {"count": 3, "more": False}
    await error_of(await client.post(f"{queue}/discard", headers=admin.headers), 404)
    states = await rows(engine, "select state, count(*) from dead_letters group by 1 order by 1")
    assert states == [("discarded", 3), ("open", 1), ("replayed", 2)]
    sent = await rows(engine, "select body from outbox where exchange = 'adrelay.back'")
    assert len(sent) == 2
    assert not {orjson.loads(body)["id"] for (body,) in sent} & {"e-2", "e-4"}
    assert [act[:2] for act in await acts(engine)] == [
        ("dead_letter.replay", "ok"),
        ("dead_letter.discard", "ok"),
        ("dead_letter.discard", "NOT_FOUND"),
    ]


async def test_a_request_handles_a_bounded_number_of_dead_letters_and_returns_a_cursor(
    client: aiohttp.ClientSession, admin: Person, engine: AsyncEngine, settings: Settings
) -> None:
    large = make_dead_letter(1, body=b"x" * (settings.max_event_bytes + 1))
    await insert_dead_letters(
        engine, large, *(make_dead_letter(number) for number in range(2, MAX_DEAD_LETTERS + 5))
    )
    path = f"{PATH}/{QUEUE}/replay"
    first = await body_of(await client.post(path, headers=admin.headers), 200)
    assert first["data"]["count"] == MAX_DEAD_LETTERS - 1
    assert first["data"]["more"] is True
    (refused,) = first["data"]["refused"]
    assert refused["id"] == str(large.id)
    assert f"the limit is {settings.max_event_bytes}" in refused["reason"]
    query = {"after": first["data"]["next"]}
    second = await body_of(await client.post(path, headers=admin.headers, params=query), 200)
    assert second["data"] == {"count": 4, "more": False}
    left = await rows(engine, "select id from dead_letters where state = 'open'")
    assert left == [(large.id,)]
    for nonsense in (
        "x",
        f"9999-12-31T23:59:59-14:00_{large.id}",
        f"2026-11-22T08:00:00_{large.id}",
    ):
        query = {"after": nonsense}
        refused = await client.post(path, headers=admin.headers, params=query)
        assert [d["field"] for d in (await error_of(refused, 400))["details"]] == ["after"]
    discarded = await client.post(f"{PATH}/{QUEUE}/discard", headers=admin.headers)
    assert (await body_of(discarded, 200))["data"] == {"count": 1, "more": False}


async def test_what_cannot_be_replayed_is_named_and_holds_nothing_back(
    client: aiohttp.ClientSession, admin: Person, engine: AsyncEngine
) -> None:
    forgotten = make_dead_letter(1, first_failed_at=NOON - timedelta(days=31))
    truncated = {**make_dead_letter().properties, "body_truncated": True, "body_length": 10**8}
    await insert_dead_letters(
        engine,
        forgotten,
        make_dead_letter(2, body=b"[1]"),
        make_dead_letter(3, body=b"\xff"),
        make_dead_letter(4, properties=truncated),
        make_dead_letter(5),
    )
    path = f"{PATH}/{QUEUE}/replay?new_id=true"
    done = (await body_of(await client.post(path, headers=admin.headers), 200))["data"]
    assert done["count"] == 1
    reasons = {UUID(one["id"]).int: one["reason"] for one in done["refused"]}
    assert sorted(reasons) == [1, 2, 3, 4]
    assert "older than the inbox remembers" in reasons[1]
    assert "no JSON object" in reasons[2]
    assert "no JSON object" in reasons[3]
    assert "of 100000000 bytes" in reasons[4]
    for number in (1, 2, 3, 4):
        one = f"{PATH}/{QUEUE}/{UUID(int=number)}/replay?new_id=true"
        refused = await error_of(await client.post(one, headers=admin.headers), 409)
        assert reasons[number] in refused["message"]
    assert await rows(engine, "select routing_key from outbox where exchange = 'adrelay.back'") == [
        (QUEUE,)
    ]


async def test_a_dead_letter_older_than_the_inbox_needs_force(
    client: aiohttp.ClientSession, admin: Person, engine: AsyncEngine
) -> None:
    (path,) = await insert_dead_letters(
        engine, make_dead_letter(first_failed_at=NOON - timedelta(days=31))
    )
    refused = await client.post(f"{path}/replay", headers=admin.headers)
    assert "older than the inbox remembers" in (await error_of(refused, 409))["message"]
    forced = await client.post(f"{path}/replay?force=true", headers=admin.headers)
    await body_of(forced, 200)


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({}, "body"),
        ({"changes": {"data.clicks": 1}, "body": "{}"}, "body"),
        ({"changes": {}}, "changes"),
        ({"changes": {"no.such.place": 1}}, "changes"),
        ({"changes": {"data.clicks.x": 1}}, "changes"),
        ({"changes": {"data.clicks": 2**80}}, "changes.?"),
        ({"body": 7}, "body"),
        ({"body": "é" * 140_000}, "body"),
        ({"changes": {"data.name": "x" * 300_000}}, "changes"),
        ({"changes": {"": 1}}, "changes"),
        ({"headers": {"x-adrelay-user": "adrelay-workers"}}, "headers"),
        ({"headers": {"cloudEvents_id": "a\u001b[2J"}}, "headers"),
        ({"headers": {"cloudEvents_id": ""}}, "headers"),
        ({"headers": {"cloudEvents_id": "x" * 1001}}, "headers"),
        ({"properties": {"reply_to": "amq.rabbitmq.reply-to.x"}}, "properties"),
        ({"properties": {"content_type": "é" * 200}}, "properties"),
        ({"properties": {"routing_key": None}}, "properties"),
    ],
)
async def test_a_patch_that_changes_nothing_or_cannot_be_made_is_400(
    client: aiohttp.ClientSession,
    admin: Person,
    engine: AsyncEngine,
    patch: dict[str, Any],
    field: str,
) -> None:
    (path,) = await insert_dead_letters(engine, make_dead_letter())
    response = await client.patch(path, json=patch, headers=admin.headers)
    assert [d["field"] for d in (await error_of(response, 400))["details"]] == [field]
    assert await rows(engine, "select body from dead_letters") == [(make_dead_letter().body,)]


async def test_an_edited_dead_letter_that_is_still_invalid_is_stored_with_its_error(
    client: aiohttp.ClientSession, admin: Person, engine: AsyncEngine
) -> None:
    (path,) = await insert_dead_letters(engine, make_dead_letter())
    response = await client.patch(path, json={"body": "{}"}, headers=admin.headers)
    assert "data: Field required" in (await body_of(response, 200))["data"]["wrong"]
    assert await rows(engine, "select body from dead_letters") == [(b"{}",)]


async def test_a_body_that_is_not_text_is_escaped_and_a_large_one_left_out(
    client: aiohttp.ClientSession, admin: Person, engine: AsyncEngine, settings: Settings
) -> None:
    large = b"x" * (settings.max_body_bytes + 1)
    paths = await insert_dead_letters(
        engine, make_dead_letter(1, body=b"\x00\xff"), make_dead_letter(2, body=large)
    )
    shown = [await body_of(await client.get(p, headers=admin.headers), 200) for p in paths]
    assert [answer["data"]["body"] for answer in shown] == ["\x00\\xff", None]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", UNKNOWN),
        ("PATCH", UNKNOWN),
        ("POST", f"{UNKNOWN}/replay"),
        ("POST", f"{UNKNOWN}/discard"),
        ("POST", f"{PATH}/{QUEUE}/replay"),
        ("GET", f"{PATH}/{QUEUE}/x"),
        ("GET", f"{PATH}/%00/{UUID(int=2)}"),
        ("GET", f"{PATH}/%00"),
        ("GET", f"{PATH}/campaigns.apply/{UUID(int=1)}"),
    ],
)
async def test_an_unknown_dead_letter_is_404(
    client: aiohttp.ClientSession, admin: Person, engine: AsyncEngine, method: str, path: str
) -> None:
    await insert_dead_letters(engine, make_dead_letter(queue="auth.register"))
    body = {"body": "{}"} if method == "PATCH" else None
    response = await client.request(method, path, json=body, headers=admin.headers)
    assert (await error_of(response, 404))["code"] == "NOT_FOUND"


async def test_a_former_admin_with_a_valid_token_changes_no_dead_letter(
    client: aiohttp.ClientSession, admin: Person, engine: AsyncEngine
) -> None:
    (path,) = await insert_dead_letters(engine, make_dead_letter())
    async with engine.begin() as tx:
        await tx.execute(text("update users set role = 'viewer'"))
    requests = (("PATCH", path), ("POST", f"{path}/replay"), ("POST", f"{PATH}/{QUEUE}/discard"))
    for method, target in requests:
        body = {"body": "{}"} if method == "PATCH" else None
        response = await client.request(method, target, json=body, headers=admin.headers)
        assert (await error_of(response, 403))["code"] == "FORBIDDEN"
    assert await rows(engine, "select state, acted_at from dead_letters") == [("open", None)]
    assert {act[1] for act in await acts(engine)} == {"FORBIDDEN"}
    assert len(await acts(engine)) == 3
    told = await rows(engine, "select 1 from outbox where routing_key = 'audit.recorded.v1'")
    assert len(told) == 3
