"""Writes become events with an operation; with ``Prefer`` the response is the outcome."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
from redis.asyncio import Redis

from infra.security.operation_id import derive_campaign_id, parse_operation_id
from infra.settings import Settings
from tests.workers.ingress.conftest import (
    DRAFT,
    MakeCampaign,
    MakePerson,
    Person,
    Spy,
    body_of,
    error_of,
    working,
)
from workers import campaigns

PATH = "/api/v1/campaigns"


async def test_a_created_campaign_is_accepted_with_an_operation(
    client: aiohttp.ClientSession, manager: Person, spy: Spy, settings: Settings
) -> None:
    headers = {**manager.headers, "X-Correlation-ID": "order-7"}
    response = await client.post(PATH, json=DRAFT, headers=headers)
    data = (await body_of(response, 202))["data"]
    assert data.keys() == {"id", "operation_id", "state"}
    assert data["state"] == "pending"
    assert response.headers["Location"] == f"{PATH}/{data['id']}"
    assert response.headers["Vary"] == "Prefer"
    assert settings.operation_key is not None
    known = parse_operation_id(
        settings.operation_key.get_secret_value().encode(), data["operation_id"]
    )
    assert known is not None
    assert known.owner == manager.id
    assert data["id"] == str(derive_campaign_id(data["operation_id"]))
    message = await spy.message()
    assert message.routing_key == "campaign.create_requested.v1"
    assert message.delivery_mode == 2


async def test_the_event_says_what_the_body_said_and_for_whom(
    client: aiohttp.ClientSession, manager: Person, spy: Spy
) -> None:
    headers = {
        **manager.headers,
        "X-Correlation-ID": "order-7",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }
    data = (await body_of(await client.post(PATH, json=DRAFT, headers=headers), 202))["data"]
    event = await spy.event()
    assert event["id"] == data["operation_id"]
    assert event["source"] == "urn:adrelay:api"
    assert event["subject"] == data["id"]
    assert event["ownerid"] == str(manager.id)
    assert event["correlationid"] == "order-7"
    assert event["traceparent"] == headers["traceparent"]
    assert event["data"] == {"campaign_id": data["id"], "currency": "USD", **DRAFT}


async def test_camel_case_is_read_too(
    client: aiohttp.ClientSession, manager: Person, spy: Spy
) -> None:
    draft = {**DRAFT, "targeting": {"interests": ["tea"], "ageRange": [25, 45]}}
    await body_of(await client.post(PATH, json=draft, headers=manager.headers), 202)
    assert (await spy.event())["data"]["targeting"]["age_range"] == [25, 45]


def draft(**changes: Any) -> dict[str, Any]:
    return {**DRAFT, **changes}


def targeting(**changes: Any) -> dict[str, Any]:
    return draft(targeting={"interests": ["tea"], "age_range": [25, 45], **changes})


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["name", "budget", "platform", "targeting"]),
        (draft(name=""), ["name"]),
        (draft(name="x" * 101), ["name"]),
        (draft(name="a\0b"), ["name"]),
        (draft(budget=0), ["budget"]),
        (draft(budget=-1), ["budget"]),
        (draft(budget=1e300), ["budget"]),
        (draft(budget="NaN"), ["budget"]),
        (draft(budget=0.0000001), ["budget"]),
        (draft(platform="myspace"), ["platform"]),
        (draft(currency="euro"), ["currency"]),
        (draft(unknown=1), ["unknown"]),
        (targeting(age_range=[45, 25]), ["targeting.age_range"]),
        (targeting(age_range=[5, 300]), ["targeting.age_range"]),
        (targeting(age_range=[25]), ["targeting.age_range"]),
        (targeting(age_range="25-45"), ["targeting.age_range"]),
        (targeting(ageRange=None, age_range=None), ["targeting.age_range"]),
        (targeting(interests=[1, ""]), ["targeting.interests"]),
        (targeting(interests=["x"] * 101), ["targeting.interests"]),
        (draft(name="", budget=0, platform=""), ["name", "budget", "platform"]),
    ],
)
async def test_an_invalid_body_is_400_with_one_detail_for_each_field(
    client: aiohttp.ClientSession,
    manager: Person,
    spy: Spy,
    body: dict[str, Any],
    fields: list[str],
) -> None:
    error = await error_of(await client.post(PATH, json=body, headers=manager.headers), 400)
    assert error["code"] == "VALIDATION_ERROR"
    assert [detail["field"] for detail in error["details"]] == fields
    assert all(detail["message"] for detail in error["details"])
    assert spy.is_empty()


async def test_an_error_does_not_repeat_what_was_sent(
    client: aiohttp.ClientSession, manager: Person
) -> None:
    body = {**DRAFT, "name": ["hunter2"], "<b>hunter2</b>": 1, "platform": "hunter2"}
    response = await client.post(PATH, json=body, headers=manager.headers)
    error = await error_of(response, 400)
    assert [detail["field"] for detail in error["details"]] == ["name", "platform", "?"]
    assert "hunter2" not in await response.text()


async def test_a_viewer_may_not_write(
    client: aiohttp.ClientSession, make_person: MakePerson
) -> None:
    viewer = await make_person("viewer")
    error = await error_of(await client.post(PATH, json=DRAFT, headers=viewer.headers), 403)
    assert error["code"] == "FORBIDDEN"


# --- idempotency ------------------------------------------------------------------------------


async def test_the_same_key_and_body_are_the_same_write(
    client: aiohttp.ClientSession, manager: Person, spy: Spy
) -> None:
    headers = {**manager.headers, "Idempotency-Key": '"order-1"'}
    bare = {**manager.headers, "Idempotency-Key": "order-1"}
    answers = [
        (await body_of(await client.post(PATH, json=DRAFT, headers=one), 202))["data"]
        for one in (headers, headers, bare)
    ]
    assert answers[0] == answers[1] == answers[2]
    assert {event["id"] for event in await spy.events(3)} == {answers[0]["operation_id"]}


async def test_the_same_key_with_another_body_is_422(
    client: aiohttp.ClientSession, manager: Person, spy: Spy
) -> None:
    headers = {**manager.headers, "Idempotency-Key": "order-2"}
    await body_of(await client.post(PATH, json=DRAFT, headers=headers), 202)
    await spy.event()
    response = await client.post(PATH, json=draft(name="Summer"), headers=headers)
    assert (await error_of(response, 422))["code"] == "IDEMPOTENCY_KEY_REUSED"
    assert spy.is_empty()


async def test_the_same_key_of_another_account_is_another_write(
    client: aiohttp.ClientSession, manager: Person, admin: Person
) -> None:
    ids = set()
    for person in (manager, admin):
        headers = {**person.headers, "Idempotency-Key": "order-3"}
        ids.add(
            (await body_of(await client.post(PATH, json=DRAFT, headers=headers), 202))["data"]["id"]
        )
    assert len(ids) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", 'a"b', "ä", '""'])
async def test_a_malformed_key_is_400(
    client: aiohttp.ClientSession, manager: Person, key: str
) -> None:
    headers = {**manager.headers, "Idempotency-Key": key}
    error = await error_of(await client.post(PATH, json=DRAFT, headers=headers), 400)
    assert error["details"][0]["field"] == "Idempotency-Key"


async def test_a_rejected_write_does_not_use_up_its_key(
    client: aiohttp.ClientSession, manager: Person, make_campaign: MakeCampaign, redis: Redis
) -> None:
    campaign = await make_campaign()
    headers = {**manager.headers, "Idempotency-Key": "order-4", "If-Match": '"2"'}
    await error_of(await client.delete(f"{PATH}/{campaign.id}", headers=headers), 412)
    assert await redis.keys("idempotency:*") == []


async def test_a_change_that_is_sent_again_after_it_took_effect_is_answered_like_the_first(
    client: aiohttp.ClientSession, manager: Person, make_campaign: MakeCampaign, settings: Settings
) -> None:
    campaign = await make_campaign()
    headers = {**manager.headers, "Idempotency-Key": "order-5", "If-Match": '"3"'}
    path = f"{PATH}/{campaign.id}"
    async with working(settings, *campaigns.SUBSCRIPTIONS):
        waiting = {**headers, "Prefer": "wait=10"}
        done = await body_of(await client.patch(path, json={"name": "New"}, headers=waiting), 200)
        assert done["data"]["version"] == 4
    again = await body_of(await client.patch(path, json={"name": "New"}, headers=headers), 202)
    assert again["data"]["id"] == str(campaign.id)


# --- changes ----------------------------------------------------------------------------------


async def test_a_change_carries_the_version_that_was_seen(
    client: aiohttp.ClientSession, manager: Person, make_campaign: MakeCampaign, spy: Spy
) -> None:
    campaign = await make_campaign()
    body = {"budget": 99.5, "status": "paused"}
    headers = {**manager.headers, "If-Match": '"3"'}
    response = await client.patch(f"{PATH}/{campaign.id}", json=body, headers=headers)
    data = (await body_of(response, 202))["data"]
    assert data["id"] == str(campaign.id)
    event = await spy.event()
    assert event["type"] == "campaign.update_requested.v1"
    assert event["ownerid"] == str(manager.id)
    assert event["data"] == {"campaign_id": str(campaign.id), "expected_version": 3, **body}


async def test_an_admin_may_change_any_campaign(
    client: aiohttp.ClientSession, admin: Person, make_campaign: MakeCampaign, spy: Spy
) -> None:
    campaign = await make_campaign()
    headers = {**admin.headers, "If-Match": "*"}
    await body_of(await client.delete(f"{PATH}/{campaign.id}", headers=headers), 202)
    event = await spy.event()
    assert event["type"] == "campaign.delete_requested.v1"
    assert "ownerid" not in event
    assert event["data"] == {"campaign_id": str(campaign.id)}


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_change_without_if_match_is_428(
    client: aiohttp.ClientSession, manager: Person, make_campaign: MakeCampaign, method: str
) -> None:
    campaign = await make_campaign()
    response = await client.request(
        method, f"{PATH}/{campaign.id}", json={"name": "x"}, headers=manager.headers
    )
    assert (await error_of(response, 428))["code"] == "PRECONDITION_REQUIRED"


@pytest.mark.parametrize("tag", ['"2"', '"4"', 'W/"3"', '"x"', "nonsense", '"2", "4"', '""'])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_stale_if_match_is_412(
    client: aiohttp.ClientSession,
    manager: Person,
    make_campaign: MakeCampaign,
    spy: Spy,
    method: str,
    tag: str,
) -> None:
    campaign = await make_campaign()
    response = await client.request(
        method,
        f"{PATH}/{campaign.id}",
        json={"name": "x"},
        headers={**manager.headers, "If-Match": tag},
    )
    assert (await error_of(response, 412))["code"] == "VERSION_CONFLICT"
    assert spy.is_empty()


@pytest.mark.parametrize(
    "body", [{}, {"name": None}, {"platform": "gemini"}, {"status": "active!"}]
)
async def test_a_change_of_nothing_or_of_what_cannot_change_is_400(
    client: aiohttp.ClientSession,
    manager: Person,
    make_campaign: MakeCampaign,
    body: dict[str, Any],
) -> None:
    campaign = await make_campaign()
    headers = {**manager.headers, "If-Match": "*"}
    response = await client.patch(f"{PATH}/{campaign.id}", json=body, headers=headers)
    await error_of(response, 400)


@pytest.mark.parametrize(
    ("action", "status"), [("pause", "paused"), ("resume", "active"), ("sync", None)]
)
async def test_actions_are_commands_too(
    client: aiohttp.ClientSession,
    manager: Person,
    make_campaign: MakeCampaign,
    spy: Spy,
    action: str,
    status: str | None,
) -> None:
    campaign = await make_campaign(platform="gemini")
    response = await client.post(f"{PATH}/{campaign.id}/{action}", headers=manager.headers)
    await body_of(response, 202)
    message = await spy.message()
    if status is None:
        assert message.routing_key == "campaign.sync_requested.v1.gemini"
    else:
        assert message.routing_key == "campaign.update_requested.v1"
        assert f'"status":"{status}"'.encode() in message.body


@pytest.mark.parametrize(
    ("method", "path"),
    [("PATCH", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/sync")],
)
@pytest.mark.parametrize("whose", ["another's", "nobody's", "deleted", "malformed"])
async def test_a_campaign_that_the_principal_cannot_see_is_404(
    client: aiohttp.ClientSession,
    manager: Person,
    admin: Person,
    make_campaign: MakeCampaign,
    method: str,
    path: str,
    whose: str,
) -> None:
    name = str(uuid4())
    if whose == "another's":
        name = str((await make_campaign(admin.id)).id)
    if whose == "deleted":
        deleted = await make_campaign(status="deleted", deleted_at=datetime.now(UTC))
        name = str(deleted.id)
    if whose == "malformed":
        name = "{" + str(uuid4()) + "}"
    response = await client.request(
        method,
        f"{PATH}/{name}{path}",
        json={"name": "x"} if method == "PATCH" else None,
        headers={**manager.headers, "If-Match": "*"},
    )
    assert (await error_of(response, 404))["code"] == "NOT_FOUND"


# --- waiting ----------------------------------------------------------------------------------


async def test_who_waits_gets_the_campaign(
    client: aiohttp.ClientSession, manager: Person, settings: Settings, redis: Redis
) -> None:
    async with working(settings, *campaigns.SUBSCRIPTIONS):
        headers = {**manager.headers, "Prefer": "respond-async, wait=10"}
        response = await client.post(PATH, json=DRAFT, headers=headers)
        data = (await body_of(response, 201))["data"]
    assert response.headers["Preference-Applied"] == "wait=10"
    assert response.headers["ETag"] == '"1"'
    assert response.headers["Location"] == f"{PATH}/{data['id']}"
    assert data["owner_id"] == str(manager.id)
    assert data["status"] == "pending"
    assert data["budget"] == 1250.5
    assert data["targeting"] == DRAFT["targeting"]
    assert await redis.exists(f"campaign:{data['id']}")


async def test_who_waits_in_vain_gets_the_operation(
    client: aiohttp.ClientSession, manager: Person
) -> None:
    began = asyncio.get_running_loop().time()
    headers = {**manager.headers, "Prefer": "wait=1"}
    response = await client.post(PATH, json=DRAFT, headers=headers)
    assert (await body_of(response, 202))["data"]["state"] == "pending"
    assert asyncio.get_running_loop().time() - began >= 1


async def test_a_client_that_waits_gets_the_rejection(
    client: aiohttp.ClientSession,
    manager: Person,
    make_campaign: MakeCampaign,
    settings: Settings,
    spy: Spy,
) -> None:
    """Two changes of one version pass the early check; the worker grants one of them."""
    campaign = await make_campaign()
    headers = {**manager.headers, "If-Match": '"3"', "Prefer": "wait=10"}
    path = f"{PATH}/{campaign.id}"
    changing = [
        asyncio.create_task(client.patch(path, json={"name": name}, headers=headers))
        for name in ("one", "two")
    ]
    await spy.events(2)
    async with working(settings, *campaigns.SUBSCRIPTIONS):
        responses = await asyncio.gather(*changing)
    by_status = {response.status: response for response in responses}
    assert by_status.keys() == {200, 412}
    assert (await body_of(by_status[200], 200))["data"]["version"] == 4
    assert (await error_of(by_status[412], 412))["code"] == "VERSION_CONFLICT"


async def test_many_wait_at_once(
    client: aiohttp.ClientSession, manager: Person, settings: Settings
) -> None:
    headers = {**manager.headers, "Prefer": "wait=10"}
    async with working(settings, *campaigns.SUBSCRIPTIONS):
        responses = await asyncio.gather(
            *(client.post(PATH, json=DRAFT, headers=headers) for _ in range(50))
        )
        ids = {(await body_of(response, 201))["data"]["id"] for response in responses}
    assert len(ids) == 50


# --- operations -------------------------------------------------------------------------------


async def test_an_operation_is_pending_before_anybody_has_seen_it_and_done_afterwards(
    client: aiohttp.ClientSession, manager: Person, settings: Settings
) -> None:
    response = await client.post(PATH, json=DRAFT, headers=manager.headers)
    made = (await body_of(response, 202))["data"]
    path = f"/api/v1/operations/{made['operation_id']}"
    pending = (await body_of(await client.get(path, headers=manager.headers), 200))["data"]
    assert pending == {
        "id": made["operation_id"],
        "state": "pending",
        "result": None,
        "error": None,
    }
    async with working(settings, *campaigns.SUBSCRIPTIONS), asyncio.timeout(10):
        while True:
            answer = await body_of(await client.get(path, headers=manager.headers), 200)
            if answer["data"]["state"] != "pending":
                break
    assert answer["data"]["state"] == "done"
    assert UUID(answer["data"]["result"]["id"]) == UUID(made["id"])


async def test_an_operation_of_another_user_or_an_unknown_one_is_404(
    client: aiohttp.ClientSession, manager: Person, make_person: MakePerson, admin: Person
) -> None:
    response = await client.post(PATH, json=DRAFT, headers=manager.headers)
    name = (await body_of(response, 202))["data"]["operation_id"]
    other = await make_person("manager")
    path = "/api/v1/operations/"
    await error_of(await client.get(path + name, headers=other.headers), 404)
    await error_of(await client.get(path + _altered(name), headers=manager.headers), 404)
    await error_of(await client.get(path + "op_1", headers=manager.headers), 404)
    await body_of(await client.get(path + name, headers=admin.headers), 200)


def _altered(name: str) -> str:
    """Change the fourth letter from the end, whose bits all count."""
    other = "B" if name[-4] == "A" else "A"
    return f"{name[:-4]}{other}{name[-3:]}"
