"""Accounts and their roles over HTTP, with the real auth worker."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import aiohttp
import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.settings import Settings
from tests.workers.ingress.api.test_auth import PASSWORD, account
from tests.workers.ingress.conftest import (
    MakePerson,
    Person,
    body_of,
    error_of,
    working,
)
from workers import auth

PATH = "/api/v1/users"


@pytest.fixture
async def _worker(settings: Settings) -> AsyncIterator[None]:
    async with working(settings, *auth.SUBSCRIPTIONS):
        yield


async def rows(engine: AsyncEngine, sql: str) -> list[Any]:
    async with engine.connect() as connection:
        return list((await connection.execute(text(sql))).all())


async def give(
    client: aiohttp.ClientSession, who: Person, target: Any, role: str
) -> aiohttp.ClientResponse:
    return await client.patch(f"{PATH}/{target}", json={"role": role}, headers=who.headers)


async def test_accounts_are_listed_the_newest_first_and_by_role(
    client: aiohttp.ClientSession, make_person: MakePerson
) -> None:
    people = [await make_person(role) for role in ("admin", "manager", "manager", "viewer")]
    headers = people[0].headers
    found = await body_of(await client.get(PATH, headers=headers), 200)
    assert [user["id"] for user in found["data"]] == [str(p.id) for p in reversed(people)]
    assert found["data"][0].keys() == {"id", "email", "role", "created_at"}
    second = {"role": "manager", "page": "2", "per_page": "1"}
    found = await body_of(await client.get(PATH, headers=headers, params=second), 200)
    assert [user["id"] for user in found["data"]] == [str(people[1].id)]
    assert found["pagination"] == {
        "total": 2,
        "page": 2,
        "per_page": 1,
        "total_pages": 2,
        "has_next": False,
        "has_prev": True,
    }
    one = await body_of(await client.get(f"{PATH}/{people[3].id}", headers=headers), 200)
    assert one["data"]["role"] == "viewer"
    await error_of(await client.get(PATH, headers=headers, params={"role": "god"}), 400)


@pytest.mark.usefixtures("_worker")
@pytest.mark.parametrize("user_id", [uuid4(), "x"])
async def test_an_account_that_is_none_is_404(
    client: aiohttp.ClientSession, admin: Person, user_id: object
) -> None:
    await error_of(await client.get(f"{PATH}/{user_id}", headers=admin.headers), 404)
    error = await error_of(await give(client, admin, user_id, "viewer"), 404)
    assert error["code"] == "NOT_FOUND"


@pytest.mark.usefixtures("_worker")
async def test_a_change_of_role_takes_effect_and_is_audited(
    client: aiohttp.ClientSession, admin: Person, manager: Person, engine: AsyncEngine
) -> None:
    answer = await body_of(await give(client, admin, manager.id, "viewer"), 200)
    assert (answer["data"]["id"], answer["data"]["role"]) == (str(manager.id), "viewer")
    again = await body_of(await give(client, admin, manager.id, "viewer"), 200)
    assert again["data"] == answer["data"]
    told = await rows(
        engine, "select body from outbox where routing_key = 'user.role_changed.v1' order by id"
    )
    assert [orjson.loads(row[0])["data"] for row in told] == [
        {"user_id": str(manager.id), "role": "viewer", "previous": "manager"}
    ]
    acts = await rows(engine, "select action, outcome, actor, subject, address from audit")
    assert acts == [("user.role_change", "ok", admin.id, str(manager.id), "127.0.0.1")] * 2


async def registered(client: aiohttp.ClientSession) -> Any:
    response = await client.post("/api/v1/auth/register", json=account(password=PASSWORD))
    return (await body_of(response, 201))["data"]


@pytest.mark.usefixtures("_worker")
async def test_who_may_do_more_may_do_it_from_the_next_refresh_on(
    client: aiohttp.ClientSession, admin: Person
) -> None:
    data = await registered(client)
    await body_of(await give(client, admin, data["user"]["id"], "admin"), 200)
    spent = {"refresh_token": data["refresh_token"]}
    fresh = (await body_of(await client.post("/api/v1/auth/refresh", json=spent), 200))["data"]
    headers = {"Authorization": f"Bearer {fresh['access_token']}"}
    await body_of(await client.get(PATH, headers=headers), 200)


@pytest.mark.usefixtures("_worker")
async def test_who_may_do_less_has_to_log_in_again(
    client: aiohttp.ClientSession, admin: Person, engine: AsyncEngine
) -> None:
    data = await registered(client)
    await body_of(await give(client, admin, data["user"]["id"], "viewer"), 200)
    spent = {"refresh_token": data["refresh_token"]}
    error = await error_of(await client.post("/api/v1/auth/refresh", json=spent), 401)
    assert error["code"] == "INVALID_TOKEN"
    told = await rows(engine, "select body from outbox where routing_key = 'session.revoked.v1'")
    assert [orjson.loads(row[0])["data"]["reason"] for row in told] == ["role_reduced"]
    (act,) = await rows(engine, "select actor from audit where action = 'user.role_change'")
    assert act == (admin.id,)


@pytest.mark.usefixtures("_worker")
async def test_the_last_admin_stays_one(
    client: aiohttp.ClientSession, admin: Person, make_person: MakePerson, engine: AsyncEngine
) -> None:
    error = await error_of(await give(client, admin, admin.id, "manager"), 409)
    assert error["code"] == "LAST_ADMIN"
    other = await make_person("admin")
    await body_of(await give(client, admin, admin.id, "manager"), 200)
    await error_of(await give(client, other, other.id, "viewer"), 409)
    outcomes = await rows(engine, "select outcome, count(*) from audit group by 1 order by 1")
    assert outcomes == [("LAST_ADMIN", 2), ("ok", 1)]


@pytest.mark.usefixtures("_worker")
async def test_admins_who_demote_each_other_at_once_leave_one(
    client: aiohttp.ClientSession, make_person: MakePerson, engine: AsyncEngine
) -> None:
    admins = [await make_person("admin") for _ in range(6)]
    answers = await asyncio.gather(
        *(give(client, who, other.id, "viewer") for who in admins for other in admins)
    )
    statuses = sorted(answer.status for answer in answers)
    assert set(statuses) <= {200, 403, 409}
    assert statuses.count(200) >= 5
    left = await rows(engine, "select count(*) from users where role = 'admin'")
    assert left == [(1,)]
    audited = await rows(engine, "select count(*) from audit where action = 'user.role_change'")
    assert audited == [(36,)]


@pytest.mark.usefixtures("_worker")
async def test_who_is_an_admin_by_an_old_token_alone_gives_no_role(
    client: aiohttp.ClientSession, admin: Person, engine: AsyncEngine
) -> None:
    async with engine.begin() as tx:
        await tx.execute(text("update users set role = 'manager'"))
    error = await error_of(await give(client, admin, admin.id, "admin"), 403)
    assert error["code"] == "FORBIDDEN"
    assert await rows(engine, "select 1 from users where role = 'admin'") == []
    acts = await rows(engine, "select action, outcome, actor, subject from audit")
    assert acts == [("user.role_change", "FORBIDDEN", admin.id, str(admin.id))]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"role": "god"}, "role"),
        ({"role": None}, "role"),
        ({}, "role"),
        ({"role": "viewer", "email": "a@example.com"}, "email"),
    ],
)
async def test_a_body_that_is_wrong_is_400(
    client: aiohttp.ClientSession, admin: Person, body: dict[str, Any], field: str
) -> None:
    response = await client.patch(f"{PATH}/{admin.id}", json=body, headers=admin.headers)
    error = await error_of(response, 400)
    assert field in [detail["field"] for detail in error["details"]]
