"""Accounts and sessions over HTTP, with the real auth worker."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from infra.settings import Settings
from tests.workers.ingress.conftest import (
    Person,
    Spy,
    body_of,
    error_of,
    working,
)
from workers import auth

PATH = "/api/v1/auth"
PASSWORD = "correct horse battery staple"


def account(**changes: Any) -> dict[str, Any]:
    return {"email": f"{uuid4().hex}@example.com", "password": PASSWORD, **changes}


@pytest.fixture
async def _worker(settings: Settings) -> AsyncIterator[None]:
    async with working(settings, *auth.SUBSCRIPTIONS):
        yield


@pytest.mark.usefixtures("_worker")
async def test_who_registers_has_an_account_and_tokens_that_work(
    client: aiohttp.ClientSession,
) -> None:
    body = account()
    response = await client.post(f"{PATH}/register", json=body)
    data = (await body_of(response, 201))["data"]
    assert response.headers["Cache-Control"] == "no-store"
    assert data.keys() == {"user", "access_token", "refresh_token", "token_type", "expires_in"}
    assert data["user"].keys() == {"id", "email", "role"}
    assert data["user"]["email"] == body["email"]
    assert data["user"]["role"] == "manager"
    assert data["token_type"] == "Bearer"
    headers = {"Authorization": f"Bearer {data['access_token']}"}
    me = await body_of(await client.get(f"{PATH}/me", headers=headers), 200)
    assert me["data"] == data["user"]
    valid = await body_of(await client.post(f"{PATH}/validate", headers=headers), 200)
    assert valid["data"]["valid"] is True
    assert valid["data"]["user"] == {"id": data["user"]["id"], "role": "manager"}


@pytest.mark.usefixtures("_worker")
async def test_a_session_begins_goes_on_and_ends(client: aiohttp.ClientSession) -> None:
    body = account()
    await body_of(await client.post(f"{PATH}/register", json=body), 201)
    login = (await body_of(await client.post(f"{PATH}/login", json=body), 200))["data"]
    assert login["user"]["email"] == body["email"]
    spent = {"refresh_token": login["refresh_token"]}
    fresh = (await body_of(await client.post(f"{PATH}/refresh", json=spent), 200))["data"]
    assert "user" not in fresh
    assert fresh["refresh_token"] != login["refresh_token"]
    last = {"refreshToken": fresh["refresh_token"]}
    response = await client.post(f"{PATH}/logout", json=last)
    assert response.status == 204
    assert await response.read() == b""
    error = await error_of(await client.post(f"{PATH}/refresh", json=last), 401)
    assert error["code"] == "INVALID_TOKEN"


@pytest.mark.usefixtures("_worker")
async def test_a_wrong_password_and_an_unknown_address_are_the_same_401(
    client: aiohttp.ClientSession,
) -> None:
    body = account()
    await body_of(await client.post(f"{PATH}/register", json=body), 201)
    errors = []
    for wrong in ({**body, "password": "wrong"}, account()):
        response = await client.post(f"{PATH}/login", json=wrong)
        errors.append(await error_of(response, 401))
        assert "WWW-Authenticate" in response.headers
    assert errors[0] == errors[1]
    assert errors[0]["code"] == "INVALID_CREDENTIALS"


@pytest.mark.usefixtures("_worker")
async def test_registering_a_known_address_tells_nothing_about_its_password(
    client: aiohttp.ClientSession,
) -> None:
    body = account()
    await body_of(await client.post(f"{PATH}/register", json=body), 201)
    answers = []
    for password in (body["password"], "another long password"):
        for key in ({}, {"Idempotency-Key": "one"}):
            again = {**body, "password": password}
            response = await client.post(f"{PATH}/register", json=again, headers=key)
            answers.append(await error_of(response, 409))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["code"] == "EMAIL_TAKEN"


@pytest.mark.usefixtures("_worker")
async def test_a_registration_repeated_with_its_idempotency_key_is_answered_the_same(
    client: aiohttp.ClientSession,
) -> None:
    body, key = account(), {"Idempotency-Key": '"registration-1"'}
    first = await body_of(await client.post(f"{PATH}/register", json=body, headers=key), 201)
    again = await body_of(await client.post(f"{PATH}/register", json=body, headers=key), 201)
    assert again["data"]["user"] == first["data"]["user"]
    other = {"Idempotency-Key": '"registration-2"'}
    await error_of(await client.post(f"{PATH}/register", json=body, headers=other), 409)
    wrong = {**body, "password": "another long password"}
    await error_of(await client.post(f"{PATH}/register", json=wrong, headers=key), 409)


@pytest.mark.usefixtures("_worker")
async def test_an_address_that_is_taken_is_409(client: aiohttp.ClientSession) -> None:
    body = account()
    await body_of(await client.post(f"{PATH}/register", json=body), 201)
    other = {**body, "password": "another long password"}
    error = await error_of(await client.post(f"{PATH}/register", json=other), 409)
    assert error["code"] == "EMAIL_TAKEN"


@pytest.mark.usefixtures("_worker")
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"email": "nobody"}, "email"),
        ({"email": 7}, "email"),
        ({"password": "short"}, "password"),
        ({"password": "x" * 129}, "password"),
        ({"role": "admin"}, "role"),
    ],
)
async def test_an_invalid_registration_is_400_and_never_quoted(
    client: aiohttp.ClientSession, changes: dict[str, Any], field: str
) -> None:
    response = await client.post(f"{PATH}/register", json=account(**changes))
    error = await error_of(response, 400)
    assert error["code"] == "VALIDATION_ERROR"
    assert [detail["field"] for detail in error["details"]] == [field]
    text = await response.text()
    assert PASSWORD not in text
    assert str(changes.get("password", PASSWORD)) not in text


async def test_without_the_auth_worker_it_is_503_with_retry_after(
    hasty: aiohttp.ClientSession,
) -> None:
    for path, body in (
        ("register", account()),
        ("login", account()),
        ("refresh", {"refresh_token": "x"}),
        ("logout", {"refresh_token": "x"}),
    ):
        response = await hasty.post(f"{PATH}/{path}", json=body)
        assert (await error_of(response, 503))["code"] == "SERVICE_UNAVAILABLE"
        assert int(response.headers["Retry-After"]) > 0


async def test_a_registration_without_a_reply_in_time_takes_effect_later(
    client: aiohttp.ClientSession, hasty: aiohttp.ClientSession, settings: Settings
) -> None:
    body, key = account(), {"Idempotency-Key": "registration-3"}
    await error_of(await hasty.post(f"{PATH}/register", json=body, headers=key), 503)
    async with working(settings, *auth.SUBSCRIPTIONS):
        response = await client.post(f"{PATH}/register", json=body, headers=key)
        again = await body_of(response, 201)
        login = await body_of(await client.post(f"{PATH}/login", json=body), 200)
    assert again["data"]["user"] == login["data"]["user"]


@pytest.mark.usefixtures("_worker")
async def test_credentials_are_never_on_the_bus_in_clear(
    client: aiohttp.ClientSession, spy: Spy
) -> None:
    body = account()
    await body_of(await client.post(f"{PATH}/register", json=body), 201)
    message = await spy.message()
    assert message.routing_key == "registration.requested.v1"
    assert PASSWORD.encode() not in message.body
    assert body["email"].encode() not in message.body


async def test_an_api_key_is_no_account(client: aiohttp.ClientSession, api_key: str) -> None:
    headers = {"X-API-Key": api_key}
    await error_of(await client.get(f"{PATH}/me", headers=headers), 403)
    await error_of(await client.post(f"{PATH}/validate", headers=headers), 403)


async def test_a_token_that_is_none_is_not_valid(
    client: aiohttp.ClientSession, manager: Person
) -> None:
    token = manager.headers["Authorization"]
    for wrong in (token[:-4] + "AAAA", token + "A", token.replace(".", ".x", 1)):
        response = await client.post(f"{PATH}/validate", headers={"Authorization": wrong})
        assert (await error_of(response, 401))["code"] == "INVALID_TOKEN"
    await error_of(await client.post(f"{PATH}/validate"), 401)


@pytest.mark.usefixtures("_worker")
async def test_an_old_token_does_not_hinder_a_login(client: aiohttp.ClientSession) -> None:
    body = account()
    await body_of(await client.post(f"{PATH}/register", json=body), 201)
    headers = {"Authorization": "Bearer a.b.c"}
    await body_of(await client.post(f"{PATH}/login", json=body, headers=headers), 200)
