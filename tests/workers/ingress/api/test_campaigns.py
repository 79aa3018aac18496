"""Reading campaigns and their figures over HTTP."""

import datetime as dt
from decimal import Decimal
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.storage.campaign_cache import get_campaign, put_campaigns
from infra.storage.metrics import ZERO, Counters, DailyReport, merge_metrics
from tests.workers.ingress.conftest import (
    MakeCampaign,
    MakePerson,
    Person,
    body_of,
    error_of,
)

PATH = "/api/v1/campaigns"


async def test_a_campaign_is_answered_with_its_version_as_etag(
    client: aiohttp.ClientSession, manager: Person, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign()
    response = await client.get(f"{PATH}/{campaign.id}", headers=manager.headers)
    body = await body_of(response, 200)
    assert response.headers["ETag"] == '"3"'
    assert body["success"] is True
    assert body["data"] == {
        "id": str(campaign.id),
        "name": "Spring",
        "platform": "claude",
        "status": "active",
        "budget": 1250.5,
        "currency": "USD",
        "targeting": {"interests": ["tea"], "age_range": [25, 45]},
        "platform_campaign_id": None,
        "version": 3,
        "owner_id": str(manager.id),
        "created_at": "2026-11-22T08:00:00.123456Z",
        "updated_at": "2026-11-22T08:00:00.123456Z",
        "synced_at": None,
    }


@pytest.mark.parametrize("tag", ['"3"', 'W/"3"', '"1", "3"', "*"])
async def test_a_campaign_that_the_client_has_is_304(
    client: aiohttp.ClientSession, manager: Person, make_campaign: MakeCampaign, tag: str
) -> None:
    campaign = await make_campaign()
    headers = {**manager.headers, "If-None-Match": tag}
    response = await client.get(f"{PATH}/{campaign.id}", headers=headers)
    assert response.status == 304
    assert response.headers["ETag"] == '"3"'
    assert await response.read() == b""


@pytest.mark.parametrize("tag", ['"2"', "3", "nonsense", '"33"'])
async def test_a_campaign_that_the_client_has_not_is_200(
    client: aiohttp.ClientSession, manager: Person, make_campaign: MakeCampaign, tag: str
) -> None:
    campaign = await make_campaign()
    headers = {**manager.headers, "If-None-Match": tag}
    await body_of(await client.get(f"{PATH}/{campaign.id}", headers=headers), 200)


async def test_a_campaign_is_cached_when_it_is_read(
    client: aiohttp.ClientSession, manager: Person, make_campaign: MakeCampaign, redis: Redis
) -> None:
    campaign = await make_campaign()
    await body_of(await client.get(f"{PATH}/{campaign.id}", headers=manager.headers), 200)
    assert await get_campaign(redis, campaign.id) == campaign.to_api()


async def test_a_cached_campaign_is_answered_from_the_cache(
    client: aiohttp.ClientSession, manager: Person, make_campaign: MakeCampaign, redis: Redis
) -> None:
    campaign = await make_campaign()
    newer = campaign.to_api().model_copy(update={"version": 4, "name": "Summer"})
    await put_campaigns(redis, [newer])
    response = await client.get(f"{PATH}/{campaign.id}", headers=manager.headers)
    assert (await body_of(response, 200))["data"]["name"] == "Summer"


@pytest.mark.parametrize("suffix", ["", "/metrics"])
async def test_a_campaign_of_another_account_is_404_cached_or_not(
    client: aiohttp.ClientSession, make_person: MakePerson, make_campaign: MakeCampaign, suffix: str
) -> None:
    campaign = await make_campaign()
    other = await make_person("manager")
    for _ in range(2):
        response = await client.get(f"{PATH}/{campaign.id}{suffix}", headers=other.headers)
        assert (await error_of(response, 404))["code"] == "NOT_FOUND"
        admin = await make_person("admin")
        response = await client.get(f"{PATH}/{campaign.id}{suffix}", headers=admin.headers)
        await body_of(response, 200)


@pytest.mark.parametrize("name", ["x", "1", "{}", "0" * 36, "urn:uuid:" + "0" * 27])
async def test_a_name_that_is_no_id_is_404(
    client: aiohttp.ClientSession, manager: Person, name: str
) -> None:
    await error_of(await client.get(f"{PATH}/{name}", headers=manager.headers), 404)


# --- lists ------------------------------------------------------------------------------------


async def test_a_list_is_paged_the_newest_first(
    client: aiohttp.ClientSession, manager: Person, make_campaign: MakeCampaign
) -> None:
    start = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
    for number in range(5):
        moment = start + dt.timedelta(hours=number)
        await make_campaign(name=f"c{number}", created_at=moment)
    query = {"page": "2", "per_page": "2"}
    response = await client.get(PATH, params=query, headers=manager.headers)
    body = await body_of(response, 200)
    assert [campaign["name"] for campaign in body["data"]] == ["c2", "c1"]
    assert body["pagination"] == {
        "total": 5,
        "page": 2,
        "per_page": 2,
        "total_pages": 3,
        "has_next": True,
        "has_prev": True,
    }


async def test_an_empty_list_has_no_pages(client: aiohttp.ClientSession, manager: Person) -> None:
    body = await body_of(await client.get(PATH, headers=manager.headers), 200)
    assert body["data"] == []
    assert body["pagination"] == {
        "total": 0,
        "page": 1,
        "per_page": 20,
        "total_pages": 0,
        "has_next": False,
        "has_prev": False,
    }


async def test_a_list_is_filtered_by_platform_and_status(
    client: aiohttp.ClientSession, manager: Person, make_campaign: MakeCampaign
) -> None:
    await make_campaign(name="a")
    await make_campaign(name="b", platform="gemini")
    await make_campaign(name="c", platform="gemini", status="paused")
    query = {"platform": "gemini", "status": "paused", "unknown": "x"}
    response = await client.get(PATH, params=query, headers=manager.headers)
    body = await body_of(response, 200)
    assert [campaign["name"] for campaign in body["data"]] == ["c"]


async def test_an_account_sees_its_own_campaigns_and_an_admin_all(
    client: aiohttp.ClientSession, manager: Person, admin: Person, make_campaign: MakeCampaign
) -> None:
    await make_campaign(name="mine")
    await make_campaign(uuid4(), name="another's")
    mine = await body_of(await client.get(PATH, headers=manager.headers), 200)
    assert [campaign["name"] for campaign in mine["data"]] == ["mine"]
    everything = await body_of(await client.get(PATH, headers=admin.headers), 200)
    assert everything["pagination"]["total"] == 2


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"page": "0"}, "page"),
        ({"page": "x"}, "page"),
        ({"page": "9" * 30}, "page"),
        ({"per_page": "101"}, "per_page"),
        ({"platform": "myspace"}, "platform"),
        ({"status": "\0"}, "status"),
    ],
)
async def test_a_bad_query_is_400(
    client: aiohttp.ClientSession, manager: Person, query: dict[str, str], field: str
) -> None:
    error = await error_of(await client.get(PATH, params=query, headers=manager.headers), 400)
    assert [detail["field"] for detail in error["details"]] == [field]


# --- figures ----------------------------------------------------------------------------------


async def put_days(engine: AsyncEngine, campaign_id: Any, days: list[dt.date]) -> None:
    moment = dt.datetime.now(dt.UTC)
    reports = [
        DailyReport(campaign_id, day, Counters(100, 10, 1, 2_500_000), moment, ZERO) for day in days
    ]
    async with engine.begin() as tx:
        await merge_metrics(tx, reports, moment)


async def test_figures_are_answered_for_the_days_asked_for_both_included(
    client: aiohttp.ClientSession,
    manager: Person,
    make_campaign: MakeCampaign,
    engine: AsyncEngine,
) -> None:
    campaign = await make_campaign()
    days = [dt.date(2026, 11, day) for day in range(1, 6)]
    await put_days(engine, campaign.id, days)
    path = f"{PATH}/{campaign.id}/metrics"
    query = {"from": "2026-11-02", "to": "2026-11-04"}
    body = await body_of(await client.get(path, params=query, headers=manager.headers), 200)
    assert [line["date"] for line in body["data"]] == ["2026-11-02", "2026-11-03", "2026-11-04"]
    assert body["data"][0] == {
        "date": "2026-11-02",
        "impressions": 100,
        "clicks": 10,
        "conversions": 1,
        "spend": float(Decimal("2.5")),
    }
    everything = await body_of(await client.get(path, headers=manager.headers), 200)
    assert len(everything["data"]) == 5


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": "yesterday"}, "from"),
        ({"to": "2026-02-30"}, "to"),
        ({"from": "2026-11-05", "to": "2026-11-04"}, "to"),
    ],
)
async def test_days_that_are_none_are_400(
    client: aiohttp.ClientSession,
    manager: Person,
    make_campaign: MakeCampaign,
    query: dict[str, str],
    field: str,
) -> None:
    campaign = await make_campaign()
    path = f"{PATH}/{campaign.id}/metrics"
    error = await error_of(await client.get(path, params=query, headers=manager.headers), 400)
    assert [detail["field"] for detail in error["details"]] == [field]
