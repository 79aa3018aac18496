"""A token outlives its user's role: the worker checks the present role."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.settings import Settings
from tests.workers.ingress.conftest import (
    DRAFT,
    MakeCampaign,
    MakeKey,
    Person,
    body_of,
    error_of,
    working,
)
from workers import campaigns as campaigns_worker

PATH = "/api/v1/campaigns"
WAIT = {"Prefer": "wait=10"}


@pytest.fixture(autouse=True)
async def _worker(settings: Settings) -> AsyncIterator[None]:
    async with working(settings, *campaigns_worker.SUBSCRIPTIONS):
        yield


async def become(engine: AsyncEngine, person: Person, role: str | None) -> None:
    """Give an account another role, or delete it (None)."""
    change = "update users set role = :role where id = :id"
    if role is None:
        change = "delete from users where id = :id"
    told = {"id": person.id} if role is None else {"id": person.id, "role": role}
    async with engine.begin() as tx:
        await tx.execute(text(change), told)


@pytest.mark.parametrize(
    ("role", "status"), [("admin", 200), ("manager", 404), ("viewer", 403), (None, 403)]
)
async def test_an_old_token_of_an_admin_changes_what_the_account_may_change_now(
    client: aiohttp.ClientSession,
    admin: Person,
    engine: AsyncEngine,
    make_campaign: MakeCampaign,
    role: str | None,
    status: int,
) -> None:
    campaign = await make_campaign()
    await become(engine, admin, role)
    url = f"{PATH}/{campaign.id}"
    headers = {**admin.headers, **WAIT}
    tagged = {**headers, "If-Match": '"3"'}
    answer = body_of if status == 200 else error_of
    await answer(await client.post(f"{url}/pause", headers=headers), status)
    if status != 200:
        await error_of(await client.patch(url, json={"name": "x"}, headers=tagged), status)
        await error_of(await client.delete(url, headers=tagged), status)
    async with engine.connect() as tx:
        row = (await tx.execute(text("select name, desired_status from campaigns"))).one()
    assert row == ("Spring", "paused" if status == 200 else "active")


@pytest.mark.parametrize(("role", "status"), [("manager", 201), ("viewer", 403), (None, 403)])
async def test_an_old_token_makes_and_changes_own_campaigns_only_while_the_account_may(
    client: aiohttp.ClientSession,
    manager: Person,
    engine: AsyncEngine,
    make_campaign: MakeCampaign,
    role: str | None,
    status: int,
) -> None:
    campaign = await make_campaign()
    await become(engine, manager, role)
    headers = {**manager.headers, **WAIT}
    made = await client.post(PATH, json=DRAFT, headers=headers)
    paused = await client.post(f"{PATH}/{campaign.id}/pause", headers=headers)
    if status == 201:
        await body_of(made, 201)
        await body_of(paused, 200)
    else:
        assert (await error_of(made, 403))["code"] == "FORBIDDEN"
        await error_of(paused, 403)


async def test_a_demoted_admin_still_changes_what_is_the_accounts_own(
    client: aiohttp.ClientSession, admin: Person, engine: AsyncEngine, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign(owner=admin.id)
    await become(engine, admin, "manager")
    headers = {**admin.headers, **WAIT}
    await body_of(await client.post(f"{PATH}/{campaign.id}/pause", headers=headers), 200)


async def test_a_key_acts_for_its_owner_as_before(
    client: aiohttp.ClientSession, make_api_key: MakeKey, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign()
    key = await make_api_key(["campaigns:write"], sources=())
    headers = {"X-API-Key": key, **WAIT}
    await body_of(await client.post(f"{PATH}/{campaign.id}/pause", headers=headers), 200)
