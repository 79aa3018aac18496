"""Rate limits over HTTP: who shares a budget with whom, what counts, what the answers say."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import aiohttp
import orjson
import pytest
from redis.asyncio import Redis

from infra.rates import RateSettings
from infra.settings import Settings
from tests.proxy import Proxy, open_proxy
from tests.workers.ingress.conftest import (
    MakeKey,
    MakePerson,
    Person,
    body_of,
    error_of,
    serving,
    working,
)
from tests.workers.ingress.test_auth import account
from tests.workers.ingress.test_events import BATCH, post, report
from tests.workers.ingress.test_webhooks import METRICS, STATUS, send
from workers import auth
from workers.ingress.limits import PASSWORD as PASSWORD_CHANGE
from workers.ingress.limits import Limits, aim_at, stranger
from workers.ingress.refusals import Refusal

LOGIN, ME = "/api/v1/auth/login", "/api/v1/auth/me"
DEFAULTS = {name: field.default for name, field in RateSettings.model_fields.items()}
WAYS = pytest.mark.parametrize("gone", [Proxy.cut, Proxy.freeze], ids=["cut", "frozen"])


@asynccontextmanager
async def limited(settings: Settings, **changes: object) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve with the limits that a new installation has, but for some."""
    async with serving(settings.model_copy(update={**DEFAULTS, **changes})) as client:
        yield client


@pytest.fixture
async def _worker(settings: Settings) -> AsyncIterator[None]:
    async with working(settings, *auth.SUBSCRIPTIONS):
        yield


async def log_in(
    client: aiohttp.ClientSession, body: Mapping[str, Any], **changes: Any
) -> aiohttp.ClientResponse:
    return await client.post(LOGIN, json={**body, **changes})


async def registered(client: aiohttp.ClientSession) -> dict[str, Any]:
    body = account()
    await body_of(await client.post("/api/v1/auth/register", json=body), 201)
    return body


def told(response: aiohttp.ClientResponse) -> dict[str, tuple[int, int, int, int]]:
    """Read amount, window, rest and time of each policy in an answer's fields."""
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
    """Hold an answer to what is said of a spent policy."""
    error = await error_of(response, 429)
    assert error["code"] == "RATE_LIMITED"
    amount, window, left, seconds = told(response)[name]
    assert left == 0
    assert 1 <= seconds <= window
    assert int(response.headers["Retry-After"]) >= seconds
    assert amount > 0


# --- the API ------------------------------------------------------------------------------------


async def test_an_account_has_a_thousand_requests_in_a_quarter_of_an_hour(
    settings: Settings, manager: Person, make_person: MakePerson
) -> None:
    async with limited(settings) as client:
        response = await client.get(ME, headers=manager.headers)
        await body_of(response, 200)
        amount, window, left, seconds = told(response)["api"]
        assert (amount, window, left) == (1000, 900, 999)
        assert 890 < seconds <= 900
    async with limited(settings, limit_api="3/hour") as client:
        for left in (2, 1, 0):
            response = await client.get(ME, headers=manager.headers)
            await body_of(response, 200)
            assert told(response)["api"][2] == left
        await assert_limited(await client.get(ME, headers=manager.headers), "api")
        other = await make_person("viewer")
        await body_of(await client.get(ME, headers=other.headers), 200)


async def test_a_key_and_its_owner_have_a_budget_each(
    settings: Settings, manager: Person, make_api_key: MakeKey
) -> None:
    key = {"X-API-Key": await make_api_key(scopes=["campaigns:read"])}
    async with limited(settings, limit_api="1/hour") as client:
        for headers in (manager.headers, key):
            await body_of(await client.get("/api/v1/campaigns", headers=headers), 200)
            await assert_limited(await client.get("/api/v1/campaigns", headers=headers), "api")


async def test_who_does_not_say_truly_who_calls_is_counted_by_address_and_harms_nobody_else(
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


async def test_an_address_in_a_header_of_a_strangers_own_gives_no_new_budget(
    settings: Settings,
) -> None:
    async with limited(settings, limit_api="2/hour") as client:
        statuses = [
            (await client.get(ME, headers={"X-Forwarded-For": f"198.51.100.{number}"})).status
            for number in range(5)
        ]
        assert statuses == [401, 401, 429, 429, 429]


async def test_behind_a_proxy_of_ours_each_address_has_its_own_budget(settings: Settings) -> None:
    proxies = (ip_network("127.0.0.0/8"),)
    async with limited(settings, limit_api="1/hour", trusted_proxies=proxies) as client:

        async def status(forwarded: str) -> int:
            return (await client.get(ME, headers={"X-Forwarded-For": forwarded})).status

        assert [await status(f"198.51.100.{number}") for number in range(3)] == [401] * 3
        assert await status("198.51.100.1") == 429
        assert await status("203.0.113.77, 198.51.100.1") == 429  # its own tale in front
        # A subscriber of IPv6 has a whole /64.
        assert await status("2001:db8:1:2::3") == 401
        assert await status("2001:db8:1:2:ffff::4") == 429
        assert await status("2001:db8:1:3::3") == 401


async def test_an_empty_setting_switches_a_limit_off(settings: Settings, manager: Person) -> None:
    async with limited(settings, limit_api="") as client:
        response = await client.get(ME, headers=manager.headers)
        await body_of(response, 200)
        assert "RateLimit" not in response.headers


async def test_a_flood_of_refusals_is_told_once(
    settings: Settings, manager: Person, caplog: pytest.LogCaptureFixture
) -> None:
    async with limited(settings, limit_api="1/hour") as client:
        with caplog.at_level(logging.INFO):
            for _ in range(20):
                await client.get(ME, headers=manager.headers)
    lines = [line.message for line in caplog.records if line.name.startswith("workers.ingress")]
    assert lines == ["a rate limit is reached"]


# --- guessing -----------------------------------------------------------------------------------


async def test_after_five_wrong_passwords_not_even_the_right_one_is_tried(
    settings: Settings,
) -> None:
    async with limited(settings) as client:
        async with working(settings, *auth.SUBSCRIPTIONS):
            body = await registered(client)
            for left in (4, 3, 2, 1, 0):
                response = await log_in(client, body, password="wrong")
                assert (await error_of(response, 401))["code"] == "INVALID_CREDENTIALS"
                assert told(response)["login"][:3] == (5, 900, left)
            await assert_limited(await log_in(client, body), "login")
            await error_of(await log_in(client, account()), 401)  # another address is free
        # Without a worker an attempt would end as 503: this one does not get so far.
        await assert_limited(await log_in(client, body), "login")


@pytest.mark.usefixtures("_worker")
async def test_logins_that_succeed_are_not_counted(settings: Settings) -> None:
    async with limited(settings) as client:
        body = await registered(client)
        for _ in range(4):
            await error_of(await log_in(client, body, password="wrong"), 401)
        for _ in range(8):
            response = await log_in(client, body)
            await body_of(response, 200)
            assert told(response)["login"][2] == 1
        await error_of(await log_in(client, body, password="wrong"), 401)
        await assert_limited(await log_in(client, body), "login")


@pytest.mark.usefixtures("_worker")
async def test_of_fifty_guesses_at_once_five_reach_the_password(settings: Settings) -> None:
    async with limited(settings) as client:
        body = account()
        answers = await asyncio.gather(*(log_in(client, body) for _ in range(50)))
        assert sorted(answer.status for answer in answers) == [401] * 5 + [429] * 45


@pytest.mark.usefixtures("_worker")
async def test_spellings_of_one_mailbox_share_their_guesses(settings: Settings) -> None:
    async with limited(settings) as client:
        spellings = (
            "ada.b@example.com",
            "ADA.B@Example.COM",
            "  ada.b@example.com ",
            "\uff41da.b@example.com",
            "ada.b@\uff25xample.com",
        )
        for email in spellings:
            await error_of(await log_in(client, account(email=email)), 401)
        for email in spellings:
            await assert_limited(await log_in(client, account(email=email)), "login")


@pytest.mark.usefixtures("_worker")
async def test_an_address_may_fail_at_many_accounts_only_so_often(settings: Settings) -> None:
    async with limited(settings, limit_login_address="7/hour") as client:
        body = await registered(client)
        for _ in range(7):
            await error_of(await log_in(client, account()), 401)
        await assert_limited(await log_in(client, body), "login-address")


async def test_an_attempt_that_nobody_answered_is_none(settings: Settings) -> None:
    async with limited(settings, reply_deadline=0.05) as client:
        body = account()
        for _ in range(7):
            await error_of(await log_in(client, body), 503)


@pytest.mark.usefixtures("_worker")
async def test_registrations_of_an_address_are_counted(settings: Settings) -> None:
    async with limited(settings) as client:
        response = await client.post("/api/v1/auth/register", json=account())
        await body_of(response, 201)
        assert told(response)["registration"][:3] == (20, 3600, 19)
    async with limited(settings, limit_registration="2/hour") as client:
        for _ in range(2):
            await registered(client)
        response = await client.post("/api/v1/auth/register", json=account())
        await assert_limited(response, "registration")


@pytest.mark.usefixtures("_worker")
async def test_refresh_tokens_that_are_none_are_counted_and_good_ones_are_not(
    settings: Settings,
) -> None:
    async with limited(settings, limit_refresh="2/hour") as client:
        body = await registered(client)
        login = (await body_of(await log_in(client, body), 200))["data"]
        token = login["refresh_token"]
        path = "/api/v1/auth/refresh"
        for _ in range(4):
            response = await client.post(path, json={"refresh_token": token})
            token = (await body_of(response, 200))["data"]["refresh_token"]
        for _ in range(2):
            await error_of(await client.post(path, json={"refresh_token": "x"}), 401)
        await assert_limited(await client.post(path, json={"refresh_token": token}), "refresh")


async def test_a_wrong_current_password_is_an_attempt_of_the_account(
    settings: Settings, redis: Redis
) -> None:
    limits = Limits(settings.model_copy(update=DEFAULTS), redis, b"key")

    async def change(who: str, code: str) -> None:
        async with limits.visit(PASSWORD_CHANGE, who).attempt():
            raise Refusal(400, code, "for a test")

    codes = []
    for code in ("VALIDATION_ERROR", *["INVALID_CREDENTIALS"] * 6):
        with pytest.raises(Refusal) as refusal:
            await change("user:1", code)
        codes.append(refusal.value.code)
    assert codes == ["VALIDATION_ERROR", *["INVALID_CREDENTIALS"] * 5, "RATE_LIMITED"]
    with pytest.raises(Refusal, match="INVALID_CREDENTIALS"):
        await change("user:2", "INVALID_CREDENTIALS")


@pytest.mark.usefixtures("_worker")
async def test_nothing_in_redis_says_whose_guesses_are_counted(
    settings: Settings, redis: Redis
) -> None:
    async with limited(settings) as client:
        await error_of(await log_in(client, account(email="ada@example.com")), 401)
    keys = await redis.keys("limit:*")
    assert len(keys) == 3
    for key in keys:
        assert not re.search(r"ada|example|@|127\.0", str(key))
        assert await redis.ttl(key) > 0


@WAYS
@pytest.mark.usefixtures("_worker")
async def test_without_redis_reads_pass_and_guesses_are_still_counted(
    settings: Settings, manager: Person, api_key: str, gone: Any
) -> None:
    async with open_proxy(settings.redis_url) as proxy:
        own = {"redis_url": proxy.url(), "limit_api": "1/hour"}
        async with limited(settings, **own) as client:
            gone(proxy)
            for _ in range(3):
                response = await client.get(ME, headers=manager.headers)
                await body_of(response, 200)
                assert "RateLimit" not in response.headers
                await body_of(await post(client, api_key, report()), 202)
            body = account()
            answers = [(await log_in(client, body)).status for _ in range(7)]
            assert answers == [401] * 5 + [429] * 2
            proxy.heal()
            async with asyncio.timeout(20):
                while (await client.get(ME, headers=manager.headers)).status != 429:
                    await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Ada@Example.com", "ada@example.com", True),
        ("\uff41da@example.com", "ada@example.com", True),
        ("no address", "NO ADDRESS ", True),
        ("ada@example.com", "bob@example.com", False),
    ],
)
def test_an_aim_has_one_spelling(one: str, other: str, same: bool) -> None:  # noqa: FBT001 - a case
    assert (aim_at(one) == aim_at(other)) is same


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("203.0.113.9", "address:203.0.113.9"),
        ("2001:db8:1:2::3", "address:2001:db8:1:2::/64"),
        (None, "address:unknown"),
    ],
)
def test_a_stranger_is_an_address_or_the_network_of_a_subscriber(
    address: str | None, name: str
) -> None:
    assert stranger(address) == name


# --- senders ------------------------------------------------------------------------------------


async def test_a_source_has_a_budget_and_waits_when_it_is_spent(settings: Settings) -> None:
    async with limited(settings, limit_webhook_requests="3/hour") as client:
        for _ in range(3):
            response = await send(client, settings, STATUS)
            await body_of(response, 200)
            assert "RateLimit" not in response.headers
        response = await send(client, settings, METRICS)
        await assert_limited(response, "webhook-requests")
        other = await client.post("/webhooks/chatgpt", data=b"{}")
        await error_of(other, 401)


async def test_what_is_not_signed_leaves_the_budget_to_the_genuine_sender(
    settings: Settings,
) -> None:
    async with limited(settings, limit_webhook_requests="2/hour") as client:
        for _ in range(10):
            await error_of(await client.post("/webhooks/claude", data=b"{}"), 401)
        for _ in range(2):
            await body_of(await send(client, settings, STATUS), 200)
        await error_of(await client.post("/webhooks/claude", data=b"{}"), 401)
        await assert_limited(await send(client, settings, STATUS), "webhook-requests")


async def test_a_source_has_a_budget_of_bytes(settings: Settings) -> None:
    size = len(orjson.dumps(STATUS))
    rate = f"{size + 1}/hour"
    async with limited(settings, limit_webhook_bytes=rate) as client:
        for _ in range(2):
            await body_of(await send(client, settings, STATUS), 200)
        response = await send(client, settings, STATUS)
        assert 'qu="content-bytes"' in response.headers["RateLimit-Policy"]
        assert (await error_of(response, 429))["code"] == "RATE_LIMITED"


async def test_a_key_has_a_budget_for_its_events(
    settings: Settings, api_key: str, make_api_key: MakeKey
) -> None:
    async with limited(settings, limit_event_requests="2/hour") as client:
        await body_of(await post(client, api_key, report()), 202)
        await body_of(await post(client, api_key, [report("a"), report("b")], BATCH), 202)
        await assert_limited(await post(client, api_key, report()), "event-requests")
        await body_of(await post(client, await make_api_key(), report()), 202)


async def test_a_key_has_a_budget_of_bytes(settings: Settings, api_key: str) -> None:
    async with limited(settings, limit_event_bytes="1/minute", limit_api="1/hour") as client:
        await body_of(await post(client, api_key, report()), 202)
        response = await post(client, api_key, report())
        await error_of(response, 429)
        # The debt of the first body: as many minutes as it had bytes.
        assert int(response.headers["Retry-After"]) > 60 * 60
