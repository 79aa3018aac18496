"""Tests that failed guesses are counted before a password is checked."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from infra.settings import Settings
from infra.web.errors import HttpError
from infra.web.rate_limits import PASSWORD as PASSWORD_CHANGE
from infra.web.rate_limits import RateLimiter, address_key, email_key
from tests.proxy import Proxy, open_proxy
from tests.workers.ingress.api.test_auth import account
from tests.workers.ingress.api.test_events import post, report
from tests.workers.ingress.conftest import (
    Person,
    body_of,
    error_of,
    working,
)
from tests.workers.ingress.http.test_rate_limits import (
    DEFAULTS,
    ME,
    assert_limited,
    limited,
    log_in,
    parse_rate_limits,
)
from workers import auth

WAYS = pytest.mark.parametrize("gone", [Proxy.cut, Proxy.freeze], ids=["cut", "frozen"])


@pytest.fixture
async def _worker(settings: Settings) -> AsyncIterator[None]:
    async with working(settings, *auth.SUBSCRIPTIONS):
        yield


async def registered(client: aiohttp.ClientSession) -> dict[str, Any]:
    body = account()
    await body_of(await client.post("/api/v1/auth/register", json=body), 201)
    return body


async def test_after_five_wrong_passwords_the_right_one_is_rejected_too(
    settings: Settings,
) -> None:
    async with limited(settings) as client:
        async with working(settings, *auth.SUBSCRIPTIONS):
            body = await registered(client)
            for left in (4, 3, 2, 1, 0):
                response = await log_in(client, body, password="wrong")
                assert (await error_of(response, 401))["code"] == "INVALID_CREDENTIALS"
                assert parse_rate_limits(response)["login"][:3] == (5, 900, left)
            await assert_limited(await log_in(client, body), "login")
            await error_of(await log_in(client, account()), 401)  # another address is free
        # Without a worker an attempt would end as 503: this one does not get so far.
        await assert_limited(await log_in(client, body), "login")


@pytest.mark.usefixtures("_worker")
async def test_successful_logins_are_not_counted(settings: Settings) -> None:
    async with limited(settings) as client:
        body = await registered(client)
        for _ in range(4):
            await error_of(await log_in(client, body, password="wrong"), 401)
        for _ in range(8):
            response = await log_in(client, body)
            await body_of(response, 200)
            assert parse_rate_limits(response)["login"][2] == 1
        await error_of(await log_in(client, body, password="wrong"), 401)
        await assert_limited(await log_in(client, body), "login")


@pytest.mark.usefixtures("_worker")
async def test_five_of_fifty_simultaneous_guesses_reach_the_password(settings: Settings) -> None:
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
async def test_failed_logins_of_an_address_at_many_accounts_are_limited(settings: Settings) -> None:
    async with limited(settings, limit_login_address="7/hour") as client:
        body = await registered(client)
        for _ in range(7):
            await error_of(await log_in(client, account()), 401)
        await assert_limited(await log_in(client, body), "login-address")


async def test_an_attempt_without_an_answer_is_not_counted(settings: Settings) -> None:
    async with limited(settings, reply_deadline=0.05) as client:
        body = account()
        for _ in range(7):
            await error_of(await log_in(client, body), 503)


@pytest.mark.usefixtures("_worker")
async def test_registrations_of_an_address_are_counted(settings: Settings) -> None:
    async with limited(settings) as client:
        response = await client.post("/api/v1/auth/register", json=account())
        await body_of(response, 201)
        assert parse_rate_limits(response)["registration"][:3] == (20, 3600, 19)
    async with limited(settings, limit_registration="2/hour") as client:
        for _ in range(2):
            await registered(client)
        response = await client.post("/api/v1/auth/register", json=account())
        await assert_limited(response, "registration")


@pytest.mark.usefixtures("_worker")
async def test_a_repeated_registration_counts_as_a_login(settings: Settings) -> None:
    async with limited(settings) as client:
        body, key = account(), {"Idempotency-Key": "guessed"}
        path = "/api/v1/auth/register"
        await body_of(await client.post(path, json=body, headers=key), 201)
        for _ in range(5):
            wrong = {**body, "password": "another long password"}
            await error_of(await client.post(path, json=wrong, headers=key), 409)
        await assert_limited(await client.post(path, json=body, headers=key), "login")
        await assert_limited(await log_in(client, body), "login")


@pytest.mark.usefixtures("_worker")
async def test_invalid_refresh_tokens_are_counted_and_valid_ones_are_not(
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


async def test_a_wrong_current_password_counts_for_the_account(
    settings: Settings, redis: Redis
) -> None:
    own = {**DEFAULTS, "redis_timeout": 5.0}
    limits = RateLimiter(settings.model_copy(update=own), redis, b"key")

    async def change(who: str, code: str) -> None:
        async with limits.scope(PASSWORD_CHANGE, who).count_failure():
            raise HttpError(400, code, "for a test")

    codes = []
    for code in ("VALIDATION_ERROR", *["INVALID_CREDENTIALS"] * 6):
        with pytest.raises(HttpError) as refusal:
            await change("user:1", code)
        codes.append(refusal.value.code)
    assert codes == ["VALIDATION_ERROR", *["INVALID_CREDENTIALS"] * 5, "RATE_LIMITED"]
    with pytest.raises(HttpError, match="INVALID_CREDENTIALS"):
        await change("user:2", "INVALID_CREDENTIALS")


@pytest.mark.usefixtures("_worker")
async def test_redis_keys_do_not_name_the_client(settings: Settings, redis: Redis) -> None:
    async with limited(settings) as client:
        await error_of(await log_in(client, account(email="zoe@example.com")), 401)
    keys = await redis.keys("limit:*")
    assert len(keys) == 3
    for key in keys:
        assert not re.search(r"zoe|example|@|127\.0", str(key))
        assert await redis.ttl(key) > 0


@WAYS
@pytest.mark.usefixtures("_worker")
async def test_without_redis_reads_pass_and_guesses_are_still_counted(
    settings: Settings, manager: Person, api_key: str, gone: Any
) -> None:
    async with open_proxy(settings.redis_url) as proxy:
        own = {"redis_url": proxy.url(), "redis_timeout": 0.25, "limit_api": "1/hour"}
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
def test_an_email_key_has_one_spelling(one: str, other: str, same: bool) -> None:  # noqa: FBT001 - a case
    assert (email_key(one) == email_key(other)) is same


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("203.0.113.9", "address:203.0.113.9"),
        ("2001:db8:1:2::3", "address:2001:db8:1:2::/64"),
        (None, "address:unknown"),
    ],
)
def test_an_address_key_is_the_address_or_its_ipv6_network(address: str | None, name: str) -> None:
    assert address_key(address) == name
