"""Events of upstream systems over HTTP: three modes, a result for each event, an API key."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.settings import Settings
from infra.storage.api_keys import parse_api_key, revoke_api_key
from infra.storage.tables import api_keys
from tests.workers.ingress.conftest import (
    DRAFT,
    SOURCE,
    MakeKey,
    Person,
    Spy,
    body_of,
    error_of,
)

PATH = "/api/v1/events"
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"


def report(event_id: str = "m-1", **changes: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": SOURCE,
        "type": "campaign.metrics_reported.v1",
        "data": {
            "platform": "gemini",
            "platform_campaign_id": "g-7",
            "date": "2026-11-21",
            "impressions": 10,
            "clicks": 2,
            "conversions": 1,
            "spend": 1.25,
        },
        **changes,
    }


def creation(event_id: str = "c-1", **changes: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": SOURCE,
        "type": "campaign.create_requested.v1",
        "data": dict(DRAFT),
        **changes,
    }


async def post(
    client: aiohttp.ClientSession, key: str, body: Any, kind: str = STRUCTURED, **headers: str
) -> aiohttp.ClientResponse:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return await client.post(
        PATH,
        data=io.BytesIO(data),
        headers={"X-API-Key": key, "Content-Type": kind, **headers},
    )


async def test_a_structured_event_is_accepted_and_published_as_it_was_meant(
    client: aiohttp.ClientSession, api_key: str, spy: Spy
) -> None:
    sent = report(comment="kept", time="2026-11-21T08:00:00.5Z", correlationid="order-7")
    body = await body_of(await post(client, api_key, sent), 202)
    assert body["data"] == [{"id": "m-1", "status": "accepted", "error": None}]
    message = await spy.message()
    assert message.routing_key == "campaign.metrics_reported.v1.gemini"
    event = orjson.loads(message.body)
    assert event.pop("datacontenttype") == "application/json"
    assert event["data"].pop("mode") == "cumulative"
    assert event.pop("time") == "2026-11-21T08:00:00.500000Z"
    sent.pop("time")
    assert event == sent


async def test_a_key_may_come_as_bearer(client: aiohttp.ClientSession, api_key: str) -> None:
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": STRUCTURED}
    await body_of(await client.post(PATH, data=orjson.dumps(report()), headers=headers), 202)


async def test_a_campaign_belongs_to_the_owner_of_the_key(
    client: aiohttp.ClientSession, api_key: str, manager: Person, spy: Spy
) -> None:
    forged = creation(ownerid=str(uuid4()))
    await body_of(await post(client, api_key, forged), 202)
    assert (await spy.event())["ownerid"] == str(manager.id)


async def test_an_event_in_binary_mode_is_accepted(
    client: aiohttp.ClientSession, api_key: str, spy: Spy
) -> None:
    event = report()
    headers = {f"ce-{name}": str(event[name]) for name in ("specversion", "id", "source", "type")}
    headers["CE-Note"] = "caf%C3%A9"
    response = await post(client, api_key, event["data"], "application/json", **headers)
    assert (await body_of(response, 202))["data"][0]["status"] == "accepted"
    published = await spy.event()
    assert published["id"] == "m-1"
    assert published["note"] == "café"
    assert published["data"]["spend"] == 1.25


async def test_a_batch_is_accepted_with_a_verdict_for_each(
    client: aiohttp.ClientSession, api_key: str, spy: Spy
) -> None:
    batch = [report(f"m-{number}") for number in range(100)]
    body = await body_of(await post(client, api_key, batch, BATCH), 202)
    assert body["data"] == [
        {"id": f"m-{number}", "status": "accepted", "error": None} for number in range(100)
    ]
    assert [event["id"] for event in await spy.events(100)] == [f"m-{n}" for n in range(100)]


async def test_a_mixed_batch_is_207_and_its_good_events_go_through(
    client: aiohttp.ClientSession, api_key: str, spy: Spy
) -> None:
    bad_data = report("m-2")
    bad_data["data"] = {**bad_data["data"], "clicks": -1, "platform": "myspace"}
    ahead = (datetime.now(UTC) + timedelta(minutes=6)).isoformat()
    batch = [
        report("m-1"),
        bad_data,
        report("m-3", source="urn:other"),
        report("m-4", type="campaign.exploded.v1"),
        report("m-5", type="campaign.saved.v1"),
        "hello",
        {},
        report("m-8", time=ahead),
        report("m-1"),
        report("m-1", subject="another"),
        {key: value for key, value in report("m-11").items() if key != "id"},
        report("m-12", specversion="0.3"),
        report("m-13"),
    ]
    verdicts = (await body_of(await post(client, api_key, batch, BATCH), 207))["data"]
    assert [verdict["status"] for verdict in verdicts] == [
        "accepted",
        *["refused"] * 7,
        "duplicate",
        *["refused"] * 3,
        "accepted",
    ]
    errors = [verdict["error"] for verdict in verdicts]
    assert [detail["field"] for detail in errors[1]["details"]] == ["data.platform", "data.clicks"]
    assert errors[2]["code"] == "FORBIDDEN"
    assert errors[3]["details"][0]["field"] == "type"
    assert errors[4]["details"][0]["field"] == "type"
    assert [verdicts[5]["id"], verdicts[6]["id"]] == [None, None]
    assert errors[7]["details"][0]["field"] == "time"
    assert errors[9]["code"] == "ID_REUSED"
    assert errors[10]["details"] == [{"field": "id", "message": "Field required"}]
    assert errors[11]["details"][0]["field"] == "specversion"
    assert [event["id"] for event in await spy.events(2)] == ["m-1", "m-13"]
    assert spy.is_empty()


async def test_a_batch_of_which_nothing_is_accepted_is_207(
    client: aiohttp.ClientSession, api_key: str, spy: Spy
) -> None:
    body = await body_of(await post(client, api_key, [report(source="urn:other")], BATCH), 207)
    assert body["data"][0]["status"] == "refused"
    assert spy.is_empty()


async def test_an_empty_batch_is_202(client: aiohttp.ClientSession, api_key: str) -> None:
    assert (await body_of(await post(client, api_key, [], BATCH), 202))["data"] == []


@pytest.mark.parametrize("body", [b"{}", b"null", b"[", b"[{]", b"\xff", b"[" * 1000])
async def test_a_body_that_is_no_array_is_400(
    client: aiohttp.ClientSession, api_key: str, body: bytes
) -> None:
    assert (await error_of(await post(client, api_key, body, BATCH), 400))["code"] == (
        "VALIDATION_ERROR"
    )


async def test_more_events_than_the_cap_are_413(
    client: aiohttp.ClientSession, api_key: str, settings: Settings, spy: Spy
) -> None:
    batch: list[Any] = [{}] * (settings.max_batch_events + 1)
    assert (await error_of(await post(client, api_key, batch, BATCH), 413))["code"] == (
        "CONTENT_TOO_LARGE"
    )
    assert spy.is_empty()


async def test_a_batch_of_the_largest_size_is_accepted(
    client: aiohttp.ClientSession, api_key: str, settings: Settings
) -> None:
    batch = [report(f"m-{number}") for number in range(settings.max_batch_events)]
    body = await body_of(await post(client, api_key, batch, BATCH), 202)
    assert len(body["data"]) == settings.max_batch_events


async def test_more_bytes_than_the_cap_are_413(
    client: aiohttp.ClientSession, api_key: str, settings: Settings
) -> None:
    body = b" " * (settings.max_body_bytes + 1)
    await error_of(await post(client, api_key, body, BATCH), 413)


async def test_an_event_larger_than_the_workers_accept_is_413_and_one_rejection_in_a_batch(
    client: aiohttp.ClientSession, api_key: str, settings: Settings, spy: Spy
) -> None:
    large = report("m-2", note="x" * settings.max_event_bytes)
    await error_of(await post(client, api_key, large), 413)
    body = await body_of(await post(client, api_key, [report(), large], BATCH), 207)
    assert body["data"][1]["error"]["code"] == "CONTENT_TOO_LARGE"
    assert (await spy.event())["id"] == "m-1"
    assert spy.is_empty()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"type": "hunter2"}, "type"),
        ({"type": 7}, "type"),
        ({"id": ""}, "id"),
        ({"id": "a\0b"}, "id"),
        ({"id": "x" * 201}, "id"),
        ({"specversion": "2.0"}, "specversion"),
        ({"time": "yesterday"}, "time"),
        ({"data": None}, "data"),
        ({"datacontenttype": "text/xml"}, "datacontenttype"),
    ],
)
async def test_an_event_that_is_not_valid_is_400(
    client: aiohttp.ClientSession, api_key: str, spy: Spy, changes: dict[str, Any], field: str
) -> None:
    response = await post(client, api_key, report(**changes))
    error = await error_of(response, 400)
    assert error["code"] == "VALIDATION_ERROR"
    assert [detail["field"] for detail in error["details"]] == [field]
    assert "hunter2" not in await response.text()
    assert spy.is_empty()


@pytest.mark.parametrize(
    "source", ["urn:other", "urn:acme", "urn:acme:crm:x", "urn:adrelay:webhook:claude"]
)
async def test_a_source_of_another_is_403(
    client: aiohttp.ClientSession, api_key: str, spy: Spy, source: str
) -> None:
    error = await error_of(await post(client, api_key, report(source=source)), 403)
    assert error["code"] == "FORBIDDEN"
    assert spy.is_empty()


async def test_no_key_may_speak_for_us(
    client: aiohttp.ClientSession, make_api_key: MakeKey
) -> None:
    key = await make_api_key(sources=["urn:adrelay:api"])
    await error_of(await post(client, key, report(source="urn:adrelay:api")), 403)


async def test_a_key_may_publish_the_types_of_its_scope(
    client: aiohttp.ClientSession, make_api_key: MakeKey
) -> None:
    key = await make_api_key(scopes=["events:publish:campaign.metrics_*"])
    await body_of(await post(client, key, report()), 202)
    await error_of(await post(client, key, creation()), 403)


@pytest.mark.parametrize("scopes", [[], ["campaigns:write"], ["events:publishing"], ["events"]])
async def test_a_key_without_the_scope_is_403(
    client: aiohttp.ClientSession, make_api_key: MakeKey, scopes: list[str]
) -> None:
    key = await make_api_key(scopes=scopes)
    await error_of(await post(client, key, report()), 403)


async def test_a_person_may_not_publish(client: aiohttp.ClientSession, admin: Person) -> None:
    headers = {**admin.headers, "Content-Type": STRUCTURED}
    await error_of(await client.post(PATH, data=orjson.dumps(report()), headers=headers), 403)


@pytest.mark.parametrize(
    "key", ["", "adr_", "adr_aaaaaaaa_" + "x" * 43, "adr_aaaaaaaa_" + "x" * 44, "ä" * 56]
)
async def test_a_key_that_is_none_is_401(client: aiohttp.ClientSession, key: str) -> None:
    assert (await error_of(await post(client, key, report()), 401))["code"] == "INVALID_TOKEN"


async def test_a_revoked_key_is_401_within_a_second(
    client: aiohttp.ClientSession, api_key: str, engine: AsyncEngine
) -> None:
    await body_of(await post(client, api_key, report()), 202)
    async with engine.begin() as tx:
        found = await tx.execute(
            api_keys.select().where(api_keys.c.key_hash == parse_api_key(api_key).hash)
        )
        key_id: UUID = found.one().id
        assert await revoke_api_key(tx, key_id)
    deadline = datetime.now(UTC) + timedelta(seconds=1.5)
    while (await post(client, api_key, report())).status != 401:
        assert datetime.now(UTC) < deadline


async def test_a_key_may_read_campaigns_only_with_that_scope(
    client: aiohttp.ClientSession, make_api_key: MakeKey
) -> None:
    path = "/api/v1/campaigns"
    reader = await make_api_key(scopes=["campaigns:read"])
    other = await make_api_key()
    await body_of(await client.get(path, headers={"X-API-Key": reader}), 200)
    await error_of(await client.get(path, headers={"X-API-Key": other}), 403)
    await error_of(await client.post(path, json=DRAFT, headers={"X-API-Key": reader}), 403)


@pytest.mark.parametrize(
    "kind",
    ["application/json", "text/plain", "application/cloudevents+avro", "application/cloudevents"],
)
async def test_what_is_no_cloudevent_is_415_with_accept(
    client: aiohttp.ClientSession, api_key: str, kind: str
) -> None:
    response = await post(client, api_key, report(), kind)
    await error_of(response, 415)
    assert response.headers["Accept"] == f"{STRUCTURED}, {BATCH}"


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"ce-id": "1"}, "type"),
        (
            {"ce-type": "campaign.metrics_reported.v1", "ce-id": "1", "ce-source": SOURCE},
            "specversion",
        ),
        (
            {"ce-type": "campaign.metrics_reported.v1", "ce-datacontenttype": "x"},
            "ce-datacontenttype",
        ),
    ],
)
async def test_binary_mode_needs_its_headers(
    client: aiohttp.ClientSession, api_key: str, headers: dict[str, str], field: str
) -> None:
    response = await post(client, api_key, report()["data"], "application/json", **headers)
    error = await error_of(response, 400)
    assert [detail["field"] for detail in error["details"]] == [field]


async def test_binary_mode_with_a_body_that_is_no_json_is_400(
    client: aiohttp.ClientSession, api_key: str
) -> None:
    headers = {"ce-id": "1", "ce-type": "campaign.metrics_reported.v1", "ce-source": SOURCE}
    response = await post(client, api_key, b"{", "application/json", **headers)
    assert (await error_of(response, 400))["details"][0]["field"] == "data"
