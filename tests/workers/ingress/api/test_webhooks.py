"""Webhooks: verified ones become events before the response, others are rejected."""

import hashlib
import hmac
import io
from typing import Any

import aiohttp
import orjson
import pytest

from infra.settings import Settings
from tests.workers.ingress.conftest import Spy, body_of, error_of

STATUS = {
    "id": "evt_1",
    "event": "campaign.status_changed",
    "data": {"campaignId": "c-1", "status": "paused", "occurredAt": "2026-11-22T08:00:00Z"},
}
METRICS = {
    "id": "evt_2",
    "event": "campaign.metrics_updated",
    "data": {
        "campaignId": "c-1",
        "date": "2026-11-22",
        "impressions": 10,
        "clicks": 2,
        "conversions": 1,
        "spend": 1.25,
    },
}


def signed(settings: Settings, body: bytes) -> dict[str, str]:
    secret = settings.platform("claude").webhook_secrets[0]
    return {"X-Claude-Signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


async def send(
    client: aiohttp.ClientSession, settings: Settings, news: Any, **headers: str
) -> aiohttp.ClientResponse:
    body = orjson.dumps(news)
    return await client.post(
        "/webhooks/claude", data=body, headers={**signed(settings, body), **headers}
    )


@pytest.mark.parametrize(
    ("news", "key"),
    [
        (STATUS, "campaign.status_reported.v1.claude"),
        (METRICS, "campaign.metrics_reported.v1.claude"),
    ],
)
async def test_a_genuine_webhook_is_received_and_becomes_an_event(
    client: aiohttp.ClientSession, settings: Settings, spy: Spy, news: dict[str, Any], key: str
) -> None:
    response = await send(client, settings, news, **{"X-Request-ID": "req-9"})
    assert await body_of(response, 200) == {"received": True}
    message = await spy.message()
    assert message.routing_key == key
    event = orjson.loads(message.body)
    assert event["id"] == news["id"]
    assert event["source"] == "urn:adrelay:webhook:claude"
    assert event["correlationid"] == "req-9"
    assert event["data"]["platform_campaign_id"] == "c-1"


async def test_every_bad_signature_is_the_same_401_and_no_event(
    client: aiohttp.ClientSession, settings: Settings, spy: Spy
) -> None:
    body = orjson.dumps(STATUS)
    good = signed(settings, body)["X-Claude-Signature"]
    answers = []
    for headers in (
        {},
        {"X-Claude-Signature": ""},
        {"X-Claude-Signature": good[:-1] + ("0" if good[-1] != "0" else "1")},
        {"X-Claude-Signature": good.upper()},
        {"X-Claude-Signature": "ä" * 64},
        signed(settings, body + b" "),
    ):
        response = await client.post("/webhooks/claude", data=body, headers=headers)
        answers.append(await error_of(response, 401))
        assert "WWW-Authenticate" in response.headers
    assert {orjson.dumps(answer) for answer in answers} == {orjson.dumps(answers[0])}
    assert spy.is_empty()
    await send(client, settings, METRICS)
    assert (await spy.event())["id"] == "evt_2"


async def test_a_changed_body_is_401(
    client: aiohttp.ClientSession, settings: Settings, spy: Spy
) -> None:
    headers = signed(settings, orjson.dumps(STATUS))
    response = await client.post("/webhooks/claude", data=orjson.dumps(METRICS), headers=headers)
    await error_of(response, 401)
    assert spy.is_empty()


@pytest.mark.parametrize("source", ["chatgpt", "gemini"])
async def test_other_sources_check_their_own_signatures(
    client: aiohttp.ClientSession, settings: Settings, source: str
) -> None:
    body = orjson.dumps(STATUS)
    response = await client.post(f"/webhooks/{source}", data=body, headers=signed(settings, body))
    assert (await error_of(response, 401))["code"] == "INVALID_SIGNATURE"


@pytest.mark.parametrize("source", ["myspace", "CLAUDE", "__init__", "base", "..%2fadmin"])
async def test_an_unknown_source_is_404(client: aiohttp.ClientSession, source: str) -> None:
    await error_of(await client.post(f"/webhooks/{source}", data=b"{}"), 404)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[" * 5000,
        b'{"event": "campaign.exploded", "data": {}}',
        b'{"event": "campaign.status_changed", "data": {"campaignId": "c\\u0000", "status": "x"}}',
    ],
)
async def test_a_genuine_body_without_meaning_is_kept_whole_and_received(
    client: aiohttp.ClientSession, settings: Settings, spy: Spy, body: bytes
) -> None:
    response = await client.post("/webhooks/claude", data=body, headers=signed(settings, body))
    assert await body_of(response, 200) == {"received": True}
    event = await spy.event()
    assert event["type"] == "webhook.unrecognised.v1"
    assert event["data"]["webhook"] == "claude"
    assert event["data"]["body"] == body.decode("utf-8", "backslashreplace")


async def test_a_webhook_that_is_too_large_is_413(
    client: aiohttp.ClientSession, settings: Settings, spy: Spy
) -> None:
    body = b" " * (settings.max_body_bytes + 1)
    headers = signed(settings, body)
    response = await client.post("/webhooks/claude", data=io.BytesIO(body), headers=headers)
    await error_of(response, 413)
    assert spy.is_empty()


async def test_the_same_webhook_is_the_same_event(
    client: aiohttp.ClientSession, settings: Settings, spy: Spy
) -> None:
    for _ in range(3):
        assert (await send(client, settings, METRICS)).status == 200
    assert {event["id"] for event in await spy.events(3)} == {"evt_2"}
