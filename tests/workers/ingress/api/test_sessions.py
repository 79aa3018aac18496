"""A user's own sessions and password over HTTP, with the real auth worker."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aio_pika.abc import AbstractConnection
from pydantic import SecretStr
from redis.asyncio import Redis

from infra.amqp import topology
from infra.settings import Settings
from tests.workers.ingress.conftest import body_of, error_of, serving, spying, working
from tests.workers.ingress.http.test_rate_limits import limited
from workers import auth

PATH = "/api/v1/auth"
SESSIONS = f"{PATH}/sessions"
PASSWORD, OTHER = "correct horse battery staple", "another long password"


@pytest.fixture(autouse=True)
async def _worker(settings: Settings) -> AsyncIterator[None]:
    async with working(settings, *auth.SUBSCRIPTIONS):
        yield


@dataclass
class Visitor:
    """One session of an account, over HTTP."""

    client: aiohttp.ClientSession
    email: str
    tokens: dict[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens['access_token']}"}

    async def call(self, method: str, path: str, **body: Any) -> aiohttp.ClientResponse:
        json = body or None
        return await self.client.request(method, path, headers=self.headers, json=json)

    async def sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await body_of(await self.call("GET", SESSIONS), 200))["data"]
        return found

    async def log_in(self, device: str, password: str = PASSWORD) -> "Visitor":
        response = await self.client.post(
            f"{PATH}/login",
            json={"email": self.email, "password": password},
            headers={"User-Agent": device},
        )
        return Visitor(self.client, self.email, (await body_of(response, 200))["data"])

    async def refresh(self) -> int:
        body = {"refresh_token": self.tokens["refresh_token"]}
        response = await self.client.post(f"{PATH}/refresh", json=body)
        if response.status == 200:
            self.tokens = (await body_of(response, 200))["data"]
        return response.status


async def visit(client: aiohttp.ClientSession) -> Visitor:
    email = f"{uuid4().hex}@example.com"
    response = await client.post(
        f"{PATH}/register",
        json={"email": email, "password": PASSWORD},
        headers={"User-Agent": "a browser"},
    )
    return Visitor(client, email, (await body_of(response, 201))["data"])


@pytest.fixture
async def ada(client: aiohttp.ClientSession) -> Visitor:
    return await visit(client)


async def test_sessions_are_listed_with_device_address_and_times(ada: Visitor) -> None:
    phone = await ada.log_in("a phone")
    await ada.refresh()
    listed = await ada.sessions()
    assert listed[0]["device"].startswith("Python/")
    assert listed[1]["device"] == "a phone"
    assert [one["current"] for one in listed] == [True, False]
    assert [one["current"] for one in await phone.sessions()] == [False, True]
    for one in listed:
        assert one.keys() == {
            "id",
            "device",
            "address",
            "started_at",
            "last_used_at",
            "current",
        }
        assert one["address"] == "127.0.0.1"
        started, used = (datetime.fromisoformat(one[n]) for n in ("started_at", "last_used_at"))
        assert started <= used


async def test_a_session_is_ended_from_another_one(ada: Visitor) -> None:
    phone = await ada.log_in("a phone")
    (other,) = [one["id"] for one in await ada.sessions() if not one["current"]]
    response = await ada.call("DELETE", f"{SESSIONS}/{other}")
    assert (response.status, await response.read()) == (204, b"")
    assert await phone.refresh() == 401
    assert [one["current"] for one in await ada.sessions()] == [True]
    await error_of(await ada.call("DELETE", f"{SESSIONS}/{other}"), 404)


async def test_all_others_are_ended_at_once(ada: Visitor) -> None:
    others = [await ada.log_in(f"phone {n}") for n in range(2)]
    assert (await ada.call("DELETE", SESSIONS)).status == 204
    assert [await one.refresh() for one in others] == [401, 401]
    assert await ada.refresh() == 200
    assert len(await ada.sessions()) == 1


@pytest.mark.parametrize("name", ["0" * 32, "x", "0" * 31, "A" * 32, "%00", "0" * 5000])
async def test_a_session_that_is_none_is_404(ada: Visitor, name: str) -> None:
    await error_of(await ada.call("DELETE", f"{SESSIONS}/{name}"), 404)


async def test_another_accounts_session_is_404(ada: Visitor, client: aiohttp.ClientSession) -> None:
    (own,) = await ada.sessions()
    eve = await visit(client)
    error = await error_of(await eve.call("DELETE", f"{SESSIONS}/{own['id']}"), 404)
    assert error == {"code": "NOT_FOUND", "message": "There is no such session."}
    assert len(await ada.sessions()) == 1
    assert await ada.refresh() == 200


async def test_only_what_can_still_be_used_is_listed(ada: Visitor, redis: Redis) -> None:
    phone = await ada.log_in("a phone")
    newest = (await ada.sessions())[0]["id"]
    assert await redis.delete(f"session:{{{newest}}}") == 1
    (left,) = await ada.sessions()
    assert left["device"] == "a browser"
    await redis.flushdb()
    assert await ada.sessions() == []
    assert [await ada.refresh(), await phone.refresh()] == [401, 401]


async def test_without_redis_or_postgres_the_list_is_503(settings: Settings, ada: Visitor) -> None:
    for name, url in (
        ("redis_url", "redis://127.0.0.1:1/0"),
        ("database_url", "postgresql://nobody@127.0.0.1:1/nothing"),
    ):
        broken = settings.model_copy(update={name: SecretStr(url)})
        async with serving(broken) as client:
            response = await client.get(SESSIONS, headers=ada.headers)
            assert (await error_of(response, 503))["code"] == "SERVICE_UNAVAILABLE"
            assert int(response.headers["Retry-After"]) > 0


async def test_the_password_is_changed_and_other_sessions_are_over(ada: Visitor) -> None:
    phone = await ada.log_in("a phone")
    body = {"currentPassword": PASSWORD, "new_password": OTHER}
    response = await ada.call("POST", f"{PATH}/password", **body)
    assert (response.status, await response.read()) == (204, b"")
    assert response.headers["Cache-Control"] == "no-store"
    assert await phone.refresh() == 401
    assert await ada.refresh() == 200
    await ada.log_in("a phone", OTHER)
    old = {"email": ada.email, "password": PASSWORD}
    await error_of(await ada.client.post(f"{PATH}/login", json=old), 401)


async def test_a_wrong_current_password_is_403_and_keeps_the_access_token_good(
    ada: Visitor,
) -> None:
    body = {"current_password": "not the password", "new_password": OTHER}
    response = await ada.call("POST", f"{PATH}/password", **body)
    error = await error_of(response, 403)
    assert error == {"code": "INVALID_CREDENTIALS", "message": "The current password is wrong."}
    assert "WWW-Authenticate" not in response.headers
    assert (await ada.call("GET", f"{PATH}/me")).status == 200


async def test_wrong_current_passwords_are_counted_and_right_ones_are_not(
    settings: Settings,
) -> None:
    right = {"current_password": PASSWORD, "new_password": PASSWORD}
    wrong = {**right, "current_password": "not the password"}
    async with limited(settings) as client:
        ada = await visit(client)
        statuses = [
            (await ada.call("POST", f"{PATH}/password", **body)).status
            for body in (*[right] * 6, *[wrong] * 6, right)
        ]
    assert statuses == [204] * 6 + [403] * 5 + [429] * 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"new_password": "short"}, "new_password"),
        ({"new_password": "password1234"}, "new_password"),
        ({"new_password": "x1y2" * 33}, "new_password"),
        ({"new_password": None}, "new_password"),
        ({"current_password": ""}, "current_password"),
        ({"account": str(uuid4())}, "account"),
    ],
)
async def test_an_invalid_change_is_400_and_never_quoted(
    ada: Visitor, changes: dict[str, Any], field: str
) -> None:
    body = {"current_password": PASSWORD, "new_password": OTHER, **changes}
    response = await ada.call("POST", f"{PATH}/password", **body)
    error = await error_of(response, 400)
    assert [detail["field"] for detail in error["details"]] == [field]
    text = await response.text()
    assert not any(str(value) in text for value in body.values() if value)


async def test_passwords_are_never_on_the_bus_in_clear(
    ada: Visitor, broker: AbstractConnection
) -> None:
    body = {"current_password": PASSWORD, "new_password": OTHER}
    async with spying(broker, topology.REQUEST_EXCHANGE) as requests:
        assert (await ada.call("POST", f"{PATH}/password", **body)).status == 204
        message = await requests.message()
    assert message.routing_key == "password.change_requested.v1"
    for secret in (PASSWORD, OTHER, ada.email, ada.tokens["access_token"]):
        assert secret.encode() not in message.body


async def test_the_longest_passwords_fit_into_a_request(ada: Visitor) -> None:
    longest = "\x01\x02\x03\x04" * 32
    body = {"current_password": PASSWORD, "new_password": longest}
    assert (await ada.call("POST", f"{PATH}/password", **body)).status == 204
    body = {"current_password": longest, "new_password": longest[::-1]}
    headers = {**ada.headers, "User-Agent": "\u00e9" * 500}
    response = await ada.client.post(f"{PATH}/password", json=body, headers=headers)
    assert response.status == 204


async def test_an_api_key_has_no_sessions_and_no_password(
    client: aiohttp.ClientSession, api_key: str
) -> None:
    headers = {"X-API-Key": api_key}
    body = {"current_password": PASSWORD, "new_password": OTHER}
    for response in (
        await client.get(SESSIONS, headers=headers),
        await client.delete(SESSIONS, headers=headers),
        await client.post(f"{PATH}/password", json=body, headers=headers),
    ):
        await error_of(response, 403)
