"""API keys over HTTP, created and revoked by the real auth worker."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import UPSTREAM_EVENTS
from infra.settings import Settings
from tests.infra.ledger import until
from tests.processes import running
from tests.workers.ingress.api.test_events import creation, post, report
from tests.workers.ingress.conftest import (
    SOURCE,
    MakeKey,
    MakePerson,
    Person,
    Spy,
    body_of,
    error_of,
    serving,
    working,
)
from workers import auth

PATH = "/api/v1/api-keys"
READS = {"name": "reader", "scopes": ["campaigns:read"]}
SHOWN = {
    "id",
    "name",
    "prefix",
    "scopes",
    "sources",
    "owner_id",
    "created_at",
    "expires_at",
    "revoked_at",
    "last_used_at",
}


@pytest.fixture
async def _worker(settings: Settings) -> AsyncIterator[None]:
    async with working(settings, *auth.SUBSCRIPTIONS):
        yield


def draft(**changes: Any) -> dict[str, Any]:
    return {"name": "crm", "scopes": ["events:publish"], "sources": [SOURCE], **changes}


async def made(
    client: aiohttp.ClientSession, admin: Person, **changes: Any
) -> tuple[str, dict[str, Any]]:
    """Make a key; gives it, and what else the answer says."""
    response = await client.post(PATH, json=draft(**changes), headers=admin.headers)
    data = (await body_of(response, 201))["data"]
    assert response.headers["Cache-Control"] == "no-store"
    return data.pop("key"), data


async def rows(engine: AsyncEngine, sql: str) -> list[Any]:
    async with engine.connect() as connection:
        return list((await connection.execute(text(sql))).all())


# --- making ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_worker")
async def test_a_key_is_returned_once_and_works(
    client: aiohttp.ClientSession, admin: Person, engine: AsyncEngine
) -> None:
    key, data = await made(client, admin)
    assert data.keys() == SHOWN
    assert key.startswith(f"{data['prefix']}_")
    assert (data["owner_id"], data["sources"]) == (str(admin.id), [SOURCE])
    await body_of(await post(client, key, report()), 202)
    one = await client.get(f"{PATH}/{data['id']}", headers=admin.headers)
    listed = await client.get(PATH, headers=admin.headers)
    found = await body_of(listed, 200)
    assert (await body_of(one, 200))["data"].keys() == SHOWN
    assert [entry["id"] for entry in found["data"]] == [data["id"]]
    assert found["pagination"]["total"] == 1
    secret = key.removeprefix(data["prefix"])
    (row,) = await rows(engine, "select api_keys::text from api_keys")
    for everything in (await one.text(), await listed.text(), row[0]):
        assert secret not in everything


@pytest.mark.usefixtures("_worker")
async def test_a_key_may_be_anothers_and_what_it_publishes_is_that_accounts(
    client: aiohttp.ClientSession, admin: Person, manager: Person, spy: Spy
) -> None:
    key, data = await made(client, admin, owner_id=str(manager.id))
    assert data["owner_id"] == str(manager.id)
    await body_of(await post(client, key, creation()), 202)
    while (event := await spy.event())["type"] != "campaign.create_requested.v1":
        pass
    assert event["ownerid"] == str(manager.id)


@pytest.mark.usefixtures("_worker")
async def test_the_largest_draft_fits_into_its_request(
    client: aiohttp.ClientSession, admin: Person
) -> None:
    sources = [f"urn:{number:02}:" + "\N{PILE OF POO}" * 193 for number in range(20)]
    scopes = ["events:publish:*" + "*" * number for number in range(20)]
    _, data = await made(
        client, admin, name="\N{PILE OF POO}" * 100, sources=sources, scopes=scopes
    )
    assert data["sources"] == sources


FAR = (datetime.now(UTC) + timedelta(days=4000)).isoformat()
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"name": " "}, "name", "at least 1 character"),
    ({"name": "x" * 101}, "name", "at most 100 characters"),
    ({"name": "a\0b"}, "name", "match pattern"),
    ({"scopes": []}, "scopes", "at least 1 item"),
    ({"scopes": ["keys"]}, "scopes", "must each be one of campaigns:read, campaigns:write"),
    ({"scopes": ["events:publish:"]}, "scopes", "must each be one of"),
    ({"scopes": ["events:publish:[a-z]*"]}, "scopes", "must each be one of"),
    ({"scopes": ["campaigns:read\n"]}, "scopes", "must each be one of"),
    ({"scopes": ["campaigns:read"] * 21}, "scopes", "at most 20 items"),
    ({"scopes": ["events:publish:campaign.saved.*"]}, "scopes", "at least one of campaign.create"),
    ({"sources": []}, "sources", "must name a source at least"),
    ({"sources": ["urn:adrelay:api"]}, "sources", "must not begin with urn:adrelay:"),
    ({"sources": [""]}, "sources", "at least 1 character"),
    ({"sources": ["x" * 201]}, "sources", "at most 200 characters"),
    ({"owner_id": "me"}, "owner_id", "valid UUID"),
    ({"owner_id": str(uuid4())}, "owner_id", "must be the id of an account"),
    ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at", "must lie ahead"),
    ({"expires_at": FAR}, "expires_at", "by at most 3660 days"),
    ({"expires_at": "2030-01-01T00:00:00"}, "expires_at", "with its offset"),
    ({"expires_at": "9999-12-31T23:59:59-23:59"}, "expires_at", "in the years 1970 to 2099"),
    ({"key": "adr_mine"}, "key", "not permitted"),
]


@pytest.mark.usefixtures("_worker")
@pytest.mark.parametrize(("changes", "field", "rule"), WRONG)
async def test_a_draft_that_is_wrong_is_400_with_field_and_rule(
    client: aiohttp.ClientSession,
    admin: Person,
    engine: AsyncEngine,
    changes: dict[str, Any],
    field: str,
    rule: str,
) -> None:
    response = await client.post(PATH, json=draft(**changes), headers=admin.headers)
    error = await error_of(response, 400)
    assert [detail["field"] for detail in error["details"]] == [field]
    assert rule in error["details"][0]["message"]
    assert await rows(engine, "select 1 from api_keys") == []


@pytest.mark.usefixtures("_worker")
async def test_a_key_that_only_reads_needs_no_source(
    client: aiohttp.ClientSession, admin: Person
) -> None:
    response = await client.post(PATH, json=READS, headers=admin.headers)
    key = (await body_of(response, 201))["data"]["key"]
    headers = {"X-API-Key": key}
    await body_of(await client.get("/api/v1/campaigns", headers=headers), 200)


async def test_every_type_that_upstream_may_publish_can_be_a_scope_of_its_own() -> None:
    from schemas.api_keys import ApiKeyCreate

    for event in UPSTREAM_EVENTS:
        scope = f"events:publish:{event.event_type()}"
        assert ApiKeyCreate.model_validate(draft(scopes=[scope])).scopes == (scope,)


async def test_without_the_auth_worker_nothing_is_made_and_it_is_503(
    hasty: aiohttp.ClientSession, admin: Person, engine: AsyncEngine
) -> None:
    response = await hasty.post(PATH, json=draft(), headers=admin.headers)
    assert (await error_of(response, 503))["code"] == "SERVICE_UNAVAILABLE"
    assert await rows(engine, "select 1 from api_keys") == []


# --- accounts without the role admin -----------------------------------------------------------


@pytest.mark.usefixtures("_worker")
async def test_who_was_an_admin_when_the_token_was_made_and_is_none_now_makes_no_key(
    client: aiohttp.ClientSession, admin: Person, make_api_key: MakeKey, engine: AsyncEngine
) -> None:
    await make_api_key()
    ((key_id,),) = await rows(engine, "select id from api_keys")
    async with engine.begin() as tx:
        await tx.execute(text("update users set role = 'manager'"))
    creating = await client.post(PATH, json=draft(), headers=admin.headers)
    revoking = await client.delete(f"{PATH}/{key_id}", headers=admin.headers)
    assert (await error_of(creating, 403))["code"] == "FORBIDDEN"
    assert (await error_of(revoking, 403))["code"] == "FORBIDDEN"
    assert await rows(engine, "select revoked_at from api_keys") == [(None,)]
    acts = await rows(engine, "select action, outcome, actor, address from audit order by action")
    assert acts == [
        ("api_key.create", "FORBIDDEN", admin.id, "127.0.0.1"),
        ("api_key.revoke", "FORBIDDEN", admin.id, "127.0.0.1"),
    ]


# --- revoking ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("_worker")
async def test_a_revoked_key_stays_in_the_list_and_may_be_revoked_again(
    client: aiohttp.ClientSession, admin: Person
) -> None:
    _, data = await made(client, admin)
    for _ in range(2):
        assert (await client.delete(f"{PATH}/{data['id']}", headers=admin.headers)).status == 204
    found = await body_of(await client.get(f"{PATH}/{data['id']}", headers=admin.headers), 200)
    assert found["data"]["revoked_at"] is not None


@pytest.mark.usefixtures("_worker")
@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("key_id", [uuid4(), "x", "%00"])
async def test_a_key_that_is_none_is_404(
    client: aiohttp.ClientSession, admin: Person, method: str, key_id: object
) -> None:
    response = await client.request(method, f"{PATH}/{key_id}", headers=admin.headers)
    assert (await error_of(response, 404))["code"] == "NOT_FOUND"


@pytest.mark.usefixtures("_worker")
async def test_a_revoked_key_is_rejected_within_a_second_by_every_process(
    client: aiohttp.ClientSession, admin: Person, settings: Settings
) -> None:
    key, data = await made(client, admin)
    headers = {"X-API-Key": key}
    async with (
        running("workers.ingress", settings) as one,
        running("workers.ingress", settings) as two,
        aiohttp.ClientSession() as caller,
    ):
        urls = [f"http://127.0.0.1:{process.port}/api/v1/operations/none" for process in (one, two)]
        # Without campaigns:read 403 says that the key was recognised, and 401 that it was not.
        for url in urls:
            assert (await caller.get(url, headers=headers)).status == 403
        revoked: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        using = [asyncio.create_task(_use(caller, url, headers, revoked)) for url in urls]
        done = await client.delete(f"{PATH}/{data['id']}", headers=admin.headers)
        assert done.status == 204
        revoked.set_result(time.monotonic())
        await asyncio.gather(*using)
        for url in urls:
            assert (await caller.get(url, headers=headers)).status == 401


async def _use(
    caller: aiohttp.ClientSession, url: str, headers: dict[str, str], revoked: asyncio.Future[float]
) -> None:
    """Use a key all the time, as a process that has it at hand does, until it is refused."""
    status = 403
    while status == 403:
        asked = time.monotonic()
        assert not revoked.done() or asked < revoked.result() + 1.0
        status = (await caller.get(url, headers=headers)).status
    assert status == 401


async def test_a_key_that_has_expired_is_401_though_it_is_remembered(
    client: aiohttp.ClientSession, make_api_key: MakeKey
) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=0.7)
    key = await make_api_key(["campaigns:read"], expires_at=expires_at)
    headers = {"X-API-Key": key}
    while True:
        asked = datetime.now(UTC)
        status = (await client.get("/api/v1/campaigns", headers=headers)).status
        if status == 401:
            break
        assert asked < expires_at
    assert datetime.now(UTC) >= expires_at


# --- use --------------------------------------------------------------------------------------


async def test_the_last_use_is_written_once_a_minute_at_most_and_at_the_end(
    settings: Settings, make_api_key: MakeKey, engine: AsyncEngine
) -> None:
    key = await make_api_key(["campaigns:read"])
    headers = {"X-API-Key": key}
    async with engine.begin() as tx:
        for statement in COUNTED:
            await tx.execute(text(statement))
    began = datetime.now(UTC)
    async with serving(settings) as one, serving(settings) as two:
        for client in (one, two) * 30:
            await body_of(await client.get("/api/v1/campaigns", headers=headers), 200)
    ended = datetime.now(UTC)
    ((used, writes),) = await rows(
        engine, "select last_used_at, (select count(*) from key_writes) from api_keys"
    )
    assert began <= used <= ended
    minutes = int(ended.timestamp()) // 60 - int(began.timestamp()) // 60 + 1
    assert 1 <= writes <= minutes


COUNTED = (
    "drop table if exists key_writes",
    "create table key_writes (at timestamptz)",
    """create or replace function note_write() returns trigger as
    'begin insert into key_writes values (now()); return new; end' language plpgsql""",
    """create or replace trigger noted after update on api_keys
    for each row execute function note_write()""",
)


@pytest.mark.usefixtures("_worker")
async def test_the_last_use_is_listed_while_the_ingress_runs(
    client: aiohttp.ClientSession, admin: Person
) -> None:
    key, data = await made(client, admin, scopes=["campaigns:read"])
    assert data["last_used_at"] is None
    await body_of(await client.get("/api/v1/campaigns", headers={"X-API-Key": key}), 200)

    async def is_shown() -> bool:
        listed = await body_of(await client.get(PATH, headers=admin.headers), 200)
        return listed["data"][0]["last_used_at"] is not None

    await until(is_shown)


async def test_uses_of_keys_are_counted_by_outcome(
    client: aiohttp.ClientSession, make_api_key: MakeKey
) -> None:
    def counts() -> dict[str, float]:
        name = "adrelay_api_key_uses_total"
        return {
            outcome: REGISTRY.get_sample_value(name, {"outcome": outcome}) or 0
            for outcome in ("valid", "invalid", "out_of_scope")
        }

    before = counts()
    key = await make_api_key(["campaigns:read"])
    for path, shown in (
        ("/api/v1/campaigns", key),
        ("/api/v1/audit", key),
        ("/api/v1/campaigns", "adr_aaaaaaaa_" + "x" * 43),
        ("/api/v1/campaigns", "my own invention"),
    ):
        await (await client.get(path, headers={"X-API-Key": shown})).read()
    after = counts()
    assert {name: after[name] - before[name] for name in after} == {
        "valid": 2,
        "out_of_scope": 1,
        "invalid": 2,
    }


# --- events -----------------------------------------------------------------------------------


async def test_a_403_names_the_source_at_fault_and_those_of_this_key_alone(
    client: aiohttp.ClientSession, make_api_key: MakeKey
) -> None:
    await make_api_key(sources=["urn:somebody:else"])
    key = await make_api_key(sources=["urn:acme:crm", "urn:acme:shop"])
    response = await post(client, key, report(source="urn:acme:till"))
    error = await error_of(response, 403)
    assert error["message"] == "This API key may not speak for urn:acme:till."
    wrong = "must be one of the key's sources: urn:acme:crm, urn:acme:shop"
    assert error["details"] == [{"field": "source", "message": wrong}]
    assert "somebody" not in await response.text()


async def test_a_403_names_the_type_at_fault_and_the_scopes_of_the_key(
    client: aiohttp.ClientSession, make_api_key: MakeKey
) -> None:
    key = await make_api_key(["campaigns:read", "events:publish:campaign.metrics_*"])
    error = await error_of(await post(client, key, creation()), 403)
    assert error["message"] == "This API key may not publish campaign.create_requested.v1."
    wrong = "is not covered by the key's scopes: events:publish:campaign.metrics_*"
    assert error["details"] == [{"field": "type", "message": wrong}]


# --- the whole way ----------------------------------------------------------------------------


@pytest.mark.usefixtures("_worker")
async def test_the_key_is_nowhere_on_the_bus_and_in_no_table(
    client: aiohttp.ClientSession, admin: Person, engine: AsyncEngine, make_person: MakePerson
) -> None:
    other: UUID = (await make_person("viewer")).id
    key, data = await made(client, admin, owner_id=str(other))
    secret = key.removeprefix(f"{data['prefix']}_")
    stored = await rows(
        engine,
        "select encode(body, 'escape') from outbox union all select a::text from audit a"
        " union all select k::text from api_keys k",
    )
    assert len(stored) == 3
    assert secret not in str(stored)
    (act,) = await rows(
        engine, "select action, outcome, actor, subject, address, device from audit"
    )
    assert act[:5] == ("api_key.create", "ok", admin.id, data["id"], "127.0.0.1")
    assert "aiohttp" in act[5]
