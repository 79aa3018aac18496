"""Values that cannot be stored are rejected with the field's name; amounts are exact."""

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.storage.metrics import ZERO, Counters, DailyReport, merge_metrics
from tests.events.invalid_values import CAMPAIGN_ID, INVALID_VALUES, event
from tests.workers.ingress.conftest import (
    DRAFT,
    SOURCE,
    MakeCampaign,
    MakeKey,
    Person,
    Spy,
    body_of,
    error_of,
)

PATH = "/api/v1/campaigns"
EVENTS = "/api/v1/events"
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
# What binary mode cannot say: attributes are text in headers.
IN_DATA = [case for case in INVALID_VALUES if case[1].startswith("data.")]


def fields(error: Any) -> set[str]:
    return {detail["field"] for detail in error["details"]}


async def test_a_value_that_cannot_be_stored_is_rejected_with_its_field(
    client: aiohttp.ClientSession, api_key: str, spy: Spy
) -> None:
    headers = {"X-API-Key": api_key, "Content-Type": STRUCTURED}
    for kind, field, changes in INVALID_VALUES:
        sent = event(kind, "v-1", SOURCE, changes)
        error = await error_of(await client.post(EVENTS, data=sent, headers=headers), 400)
        assert fields(error) == {field}, sent
    for kind, field, changes in IN_DATA:
        data = json.loads(event(kind, "v-1", SOURCE, {}))
        raw = event(kind, "v-1", SOURCE, changes)
        body = raw[raw.index('"data": ') + len('"data": ') : -1]
        named = {f"ce-{name}": data[name] for name in ("specversion", "id", "source", "type")}
        binary = {"X-API-Key": api_key, "Content-Type": "application/json", **named}
        error = await error_of(await client.post(EVENTS, data=body, headers=binary), 400)
        assert fields(error) == {field}, body
    assert spy.is_empty()


async def test_a_batch_names_the_field_of_each_bad_value(
    client: aiohttp.ClientSession, api_key: str, spy: Spy
) -> None:
    batch = [
        event(kind, f"v-{n}", SOURCE, change) for n, (kind, _, change) in enumerate(INVALID_VALUES)
    ]
    good = event("campaign.metrics_reported.v1", "good", SOURCE, {})
    headers = {"X-API-Key": api_key, "Content-Type": BATCH}
    body = f"[{','.join([*batch, good])}]"
    verdicts = (await body_of(await client.post(EVENTS, data=body, headers=headers), 207))["data"]
    assert [fields(verdict["error"]) for verdict in verdicts[:-1]] == [
        {f} for _, f, _ in INVALID_VALUES
    ]
    assert verdicts[-1]["status"] == "accepted"
    assert (await spy.event())["id"] == "good"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"currency": "JPY", "budget": 100.5}, "budget"),
        ({"currency": "KWD", "budget": 1.0001}, "budget"),
        ({"budget": 10.001}, "budget"),
        ({"currency": "XXQ"}, "currency"),
        ({"currency": "XAU"}, "currency"),
        ({"budget": 10**15}, "budget"),
        ({"name": "a\x00b"}, "name"),
        ({"targeting": {"interests": ["a\x00"], "age_range": [25, 45]}}, "targeting.interests"),
        ({"targeting": {"interests": [], "age_range": [25, 10**30]}}, "targeting.age_range"),
    ],
)
async def test_a_campaign_with_invalid_values_is_rejected(
    client: aiohttp.ClientSession, manager: Person, change: dict[str, Any], field: str
) -> None:
    response = await client.post(PATH, json={**DRAFT, **change}, headers=manager.headers)
    assert fields(await error_of(response, 400)) == {field}


async def test_a_budget_fits_the_currency_that_the_campaign_has(
    client: aiohttp.ClientSession, manager: Person, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign(currency="JPY", budget_micros=100_000_000)
    headers = {**manager.headers, "If-Match": '"3"'}
    url = f"{PATH}/{campaign.id}"
    error = await error_of(await client.patch(url, json={"budget": 100.5}, headers=headers), 400)
    assert (fields(error), error["details"][0]["message"]) == (
        {"budget"},
        "must have no decimals in JPY",
    )
    await body_of(await client.patch(url, json={"budget": 100.0}, headers=headers), 202)


async def test_money_is_answered_to_the_last_micro(
    client: aiohttp.ClientSession,
    manager: Person,
    make_campaign: MakeCampaign,
    engine: AsyncEngine,
) -> None:
    campaign = await make_campaign()
    micros = 1_234_567_890_123_456_789
    day, now = dt.date(2026, 11, 22), dt.datetime.now(dt.UTC)
    report = DailyReport(campaign.id, day, Counters(1, 2, 3, micros), now, ZERO)
    async with engine.begin() as tx:
        await merge_metrics(tx, [report], now)
    response = await client.get(f"{PATH}/{campaign.id}/metrics", headers=manager.headers)
    answer = json.loads(await response.text(), parse_float=Decimal)
    assert answer["data"][0]["spend"] == Decimal("1234567890123.456789")
    assert '"spend":1234567890123.456789' in await response.text()


@pytest.mark.parametrize(
    "query",
    [
        "metrics?from=2026-11-22T00:00:00",
        "metrics?from=1795305600",
        "metrics?to=10000-01-01",
        "metrics?to=infinity",
        "?page=0",
        f"?page={10**30}",
        f"?page={'9' * 5000}",
        f"?per_page={10**30}",
        "?page=1e3",
        "?platform=%00",
    ],
)
async def test_a_query_parameter_that_postgres_cannot_take_is_rejected(
    client: aiohttp.ClientSession, manager: Person, make_campaign: MakeCampaign, query: str
) -> None:
    campaign = await make_campaign()
    path = f"{PATH}/{campaign.id}/{query}" if query.startswith("metrics") else PATH + query
    await error_of(await client.get(path, headers=manager.headers), 400)


@pytest.mark.parametrize("until", ["9999-12-31", "2026-11-22", "0001-01-01"])
async def test_any_range_of_days_may_be_asked_for(
    client: aiohttp.ClientSession, manager: Person, make_campaign: MakeCampaign, until: str
) -> None:
    campaign = await make_campaign()
    url = f"{PATH}/{campaign.id}/metrics?from=0001-01-01&to={until}"
    assert (await body_of(await client.get(url, headers=manager.headers), 200))["data"] == []


@pytest.mark.parametrize(
    "value", [1, "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "2026-11-22", 1e300]
)
async def test_an_expiry_out_of_range_is_rejected(
    client: aiohttp.ClientSession, admin: Person, value: Any
) -> None:
    draft = {"name": "crm", "scopes": ["campaigns:read"], "expires_at": value}
    response = await client.post("/api/v1/api-keys", json=draft, headers=admin.headers)
    assert fields(await error_of(response, 400)) == {"expires_at"}


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/operations/a%00b",
        "/api/v1/operations/%ED%A0%80",
        f"{PATH}/{CAMPAIGN_ID[:-1]}%00",
        f"{PATH}/%F0%9F%92%A9",
        "/api/v1/dead/a%00b",
        f"/api/v1/users/{10**40}",
    ],
)
async def test_an_id_that_is_no_id_names_nothing(
    client: aiohttp.ClientSession, admin: Person, path: str
) -> None:
    response = await client.get(path, headers=admin.headers)
    assert response.status in {400, 404}


async def test_a_key_may_change_nothing_with_impossible_figures(
    client: aiohttp.ClientSession, make_api_key: MakeKey, spy: Spy
) -> None:
    key = await make_api_key(["campaigns:write"], sources=())
    response = await client.post(
        PATH, json={**DRAFT, "currency": "JPY"}, headers={"X-API-Key": key}
    )
    assert fields(await error_of(response, 400)) == {"budget"}
    assert spy.is_empty()
