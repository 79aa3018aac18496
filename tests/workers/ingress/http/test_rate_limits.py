"""Tests rate limits over HTTP: what shares a limit, what counts, what the headers say."""

import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import aiohttp
import orjson
import pytest

from infra.settings import Settings
from infra.settings.rate_limits import RateLimitSettings
from tests.workers.ingress.api.test_auth import account
from tests.workers.ingress.api.test_events import BATCH, post, report
from tests.workers.ingress.api.test_webhooks import METRICS, STATUS, send
from tests.workers.ingress.conftest import (
    MakeKey,
    MakePerson,
    Person,
    body_of,
    error_of,
    serving,
)

LOGIN, ME = "/api/v1/auth/login", "/api/v1/auth/me"
DEFAULTS = {name: field.default for name, field in RateLimitSettings.model_fields.items()}


@asynccontextmanager
async def limited(settings: Settings, **changes: object) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve with the default limits, except for ``changes``.

    The Redis timeout is longer: a busy machine is not an outage.
    """
    own = {**DEFAULTS, "redis_timeout": 5.0, **changes}
    async with serving(settings.model_copy(update=own)) as client:
        yield client


async def log_in(
    client: aiohttp.ClientSession, body: Mapping[str, Any], **changes: Any
) -> aiohttp.ClientResponse:
    return await client.post(LOGIN, json={**body, **changes})


def parse_rate_limits(response: aiohttp.ClientResponse) -> dict[str, tuple[int, int, int, int]]:
    """Parse amount, window, rest and seconds of each policy from the headers."""
    names = r'"([a-z-]+)"'
    policies = re.findall(
        rf'{names};q=(\d+);w=(\d+)(?:;qu="content-bytes")?', response.headers["RateLimit-Policy"]
    )
    rests = re.findall(rf"{names};r=(\d+);t=(\d+)", response.headers["RateLimit"])
    assert [line[0] for line in policies] == [line[0] for line in rests]
    return {
        name: (int(q), int(w), int(r), int(t))
        for (name, q, w), (_, r, t) in zip(policies, rests, strict=True)
    }


async def assert_limited(response: aiohttp.ClientResponse, name: str) -> None:
    """Check the 429 of a policy that is used up."""
    error = await error_of(response, 429)
    assert error["code"] == "RATE_LIMITED"
    amount, window, left, seconds = parse_rate_limits(response)[name]
    assert left == 0
    assert 1 <= seconds <= window
    assert int(response.headers["Retry-After"]) >= seconds
    assert amount > 0


async def test_an_account_has_a_thousand_requests_in_a_quarter_of_an_hour(
    settings: Settings, manager: Person, make_person: MakePerson
) -> None:
    async with limited(settings) as client:
        response = await client.get(ME, headers=manager.headers)
        await body_of(response, 200)
        amount, window, left, seconds = parse_rate_limits(response)["api"]
        assert (amount, window, left) == (1000, 900, 999)
        assert 890 < seconds <= 900
    async with limited(settings, limit_api="3/hour") as client:
        for left in (2, 1, 0):
            response = await client.get(ME, headers=manager.headers)
            await body_of(response, 200)
            assert parse_rate_limits(response)["api"][2] == left
        await assert_limited(await client.get(ME, headers=manager.headers), "api")
        other = await make_person("viewer")
        await body_of(await client.get(ME, headers=other.headers), 200)


async def test_an_api_key_and_its_owner_have_separate_limits(
    settings: Settings, manager: Person, make_api_key: MakeKey
) -> None:
    key = {"X-API-Key": await make_api_key(scopes=["campaigns:read"])}
    async with limited(settings, limit_api="1/hour") as client:
        for headers in (manager.headers, key):
            await body_of(await client.get("/api/v1/campaigns", headers=headers), 200)
            await assert_limited(await client.get("/api/v1/campaigns", headers=headers), "api")


async def test_failed_authentication_is_counted_by_address_and_affects_no_account(
    settings: Settings, manager: Person, api_key: str
) -> None:
    async with limited(settings, limit_api="3/hour") as client:
        await error_of(await client.get(ME), 401)
        await error_of(await client.get(ME, headers={"Authorization": "Bearer a.b.c"}), 401)
        await error_of(await post(client, "adr_wrong", report()), 401)
        await assert_limited(await client.get(ME), "api")
        await assert_limited(await post(client, "adr_wrong", report()), "api")
        await assert_limited(await log_in(client, account()), "api")
        await body_of(await client.get(ME, headers=manager.headers), 200)
        await body_of(await post(client, api_key, report()), 202)
        await body_of(await client.get("/.well-known/jwks.json"), 200)


async def test_a_forged_forwarded_header_does_not_evade_the_limit(
    settings: Settings,
) -> None:
    async with limited(settings, limit_api="2/hour") as client:
        statuses = [
            (await client.get(ME, headers={"X-Forwarded-For": f"198.51.100.{number}"})).status
            for number in range(5)
        ]
        assert statuses == [401, 401, 429, 429, 429]


async def test_behind_a_trusted_proxy_each_address_has_its_own_limit(settings: Settings) -> None:
    proxies = (ip_network("127.0.0.0/8"),)
    async with limited(settings, limit_api="1/hour", trusted_proxies=proxies) as client:

        async def status(forwarded: str) -> int:
            return (await client.get(ME, headers={"X-Forwarded-For": forwarded})).status

        assert [await status(f"198.51.100.{number}") for number in range(3)] == [401] * 3
        assert await status("198.51.100.1") == 429
        assert await status("203.0.113.77, 198.51.100.1") == 429  # a forged address in front
        # An IPv6 subscriber has a whole /64.
        assert await status("2001:db8:1:2::3") == 401
        assert await status("2001:db8:1:2:ffff::4") == 429
        assert await status("2001:db8:1:3::3") == 401
        # Addresses with ports have separate limits too (issue 10, number 21).
        assert [await status(f"203.0.113.{number}:17085") for number in range(3)] == [401] * 3
        assert await status("203.0.113.1:17086") == 429
        assert await status("[2001:db8:1:4::3]:17085") == 401
        assert await status("[2001:db8:1:4::4]:17085") == 429


async def test_the_forwarded_header_counts_if_the_proxies_write_it(settings: Settings) -> None:
    proxies = {"trusted_proxies": (ip_network("127.0.0.0/8"),), "forwarded_header": "Forwarded"}
    async with limited(settings, limit_api="1/hour", **proxies) as client:

        async def status(forwarded: str) -> int:
            headers = {"Forwarded": forwarded, "X-Forwarded-For": "198.51.100.99"}
            return (await client.get(ME, headers=headers)).status

        assert await status("for=198.51.100.1:17085;proto=https") == 401
        assert await status('for="[2001:db8::1]:17085"') == 401
        assert await status("for=203.0.113.77, For=198.51.100.1") == 429


async def test_an_empty_setting_disables_a_limit(settings: Settings, manager: Person) -> None:
    async with limited(settings, limit_api="") as client:
        response = await client.get(ME, headers=manager.headers)
        await body_of(response, 200)
        assert "RateLimit" not in response.headers


async def test_a_flood_of_rejected_requests_is_logged_once(
    settings: Settings, manager: Person, caplog: pytest.LogCaptureFixture
) -> None:
    async with limited(settings, limit_api="1/hour") as client:
        with caplog.at_level(logging.INFO):
            for _ in range(20):
                await client.get(ME, headers=manager.headers)
    ours = ("workers.ingress", "infra.web")
    lines = [line.message for line in caplog.records if line.name.startswith(ours)]
    assert lines == ["a rate limit is reached"]


async def test_a_webhook_source_over_its_limit_gets_429(settings: Settings) -> None:
    async with limited(settings, limit_webhook_requests="3/hour") as client:
        for _ in range(3):
            response = await send(client, settings, STATUS)
            await body_of(response, 200)
            assert "RateLimit" not in response.headers
        response = await send(client, settings, METRICS)
        await assert_limited(response, "webhook-requests")
        other = await client.post("/webhooks/chatgpt", data=b"{}")
        await error_of(other, 401)


async def test_unsigned_webhooks_do_not_use_up_the_limit_of_the_genuine_sender(
    settings: Settings,
) -> None:
    async with limited(settings, limit_webhook_requests="2/hour") as client:
        for _ in range(10):
            await error_of(await client.post("/webhooks/claude", data=b"{}"), 401)
        for _ in range(2):
            await body_of(await send(client, settings, STATUS), 200)
        await error_of(await client.post("/webhooks/claude", data=b"{}"), 401)
        await assert_limited(await send(client, settings, STATUS), "webhook-requests")


async def test_a_webhook_source_has_a_limit_of_bytes(settings: Settings) -> None:
    size = len(orjson.dumps(STATUS))
    rate = f"{size + 1}/hour"
    async with limited(settings, limit_webhook_bytes=rate) as client:
        for _ in range(2):
            await body_of(await send(client, settings, STATUS), 200)
        response = await send(client, settings, STATUS)
        assert 'qu="content-bytes"' in response.headers["RateLimit-Policy"]
        assert (await error_of(response, 429))["code"] == "RATE_LIMITED"


async def test_an_api_key_has_a_limit_of_event_requests(
    settings: Settings, api_key: str, make_api_key: MakeKey
) -> None:
    async with limited(settings, limit_event_requests="2/hour") as client:
        await body_of(await post(client, api_key, report()), 202)
        await body_of(await post(client, api_key, [report("a"), report("b")], BATCH), 202)
        await assert_limited(await post(client, api_key, report()), "event-requests")
        await body_of(await post(client, await make_api_key(), report()), 202)


async def test_an_api_key_has_a_limit_of_event_bytes(settings: Settings, api_key: str) -> None:
    async with limited(settings, limit_event_bytes="1/minute", limit_api="1/hour") as client:
        await body_of(await post(client, api_key, report()), 202)
        response = await post(client, api_key, report())
        await error_of(response, 429)
        # The debt of the first body: as many minutes as it had bytes.
        assert int(response.headers["Retry-After"]) > 60 * 60
