"""Tests preconditions (RFC 9110) and the responses to repeated writes."""

import asyncio
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from infra.settings import Settings
from tests.workers.ingress.conftest import (
    DRAFT,
    MakeCampaign,
    Person,
    body_of,
    error_of,
    working,
)
from workers import campaigns

PATH = "/api/v1/campaigns"

PRECONDITIONS = [
    # If-Match, If-None-Match, what a campaign at version 3 makes of it
    ('"2", "3", "9"', None, 200),
    ('"3", "9"', None, 200),
    ('"9","3"', None, 200),
    (', "3" , ,', None, 200),
    ('W/"3", "3"', None, 200),
    ("*", None, 200),
    ('"03"', None, 412),
    ('W/"3"', None, 412),
    ('W/"3", "4"', None, 412),
    ('"3" "4"', None, 412),
    ('"3", 4', None, 412),
    ('*, "3"', None, 412),
    ('"4"', None, 412),
    ("*", "*", 412),
    ("*", '"3"', 412),
    ("*", 'W/"3"', 412),
    ('"3"', '"2", "3"', 412),
    ('"3"', '"2"', 200),
]


async def test_a_failed_precondition_leaves_the_campaign_unchanged(
    client: aiohttp.ClientSession,
    manager: Person,
    make_campaign: MakeCampaign,
    settings: Settings,
) -> None:
    async with working(settings, *campaigns.SUBSCRIPTIONS):
        for match, none_match, status in PRECONDITIONS:
            campaign = await make_campaign()
            headers = {**manager.headers, "If-Match": match, "Prefer": "wait=10"}
            if none_match is not None:
                headers["If-None-Match"] = none_match
            path = f"{PATH}/{campaign.id}"
            response = await client.patch(path, json={"name": "New"}, headers=headers)
            assert response.status == status, (match, none_match, await response.text())
            shown = await body_of(await client.get(path, headers=manager.headers), 200)
            assert shown["data"]["name"] == ("New" if status == 200 else "Spring")


@pytest.mark.parametrize(
    ("match", "none_match", "status"),
    [
        ('"2", "3"', None, 200),
        ("*", None, 200),
        ('W/"3"', None, 412),
        ('"2"', None, 412),
        ('"3"', 'W/"3"', 304),
        (None, '"2", W/"3"', 304),
        (None, "*", 304),
        (None, '"2"', 200),
        (None, "3", 200),
        ('"2"', '"3"', 412),  # If-Match comes first (section 13.2.2)
    ],
)
async def test_reads_support_preconditions(
    client: aiohttp.ClientSession,
    manager: Person,
    make_campaign: MakeCampaign,
    match: str | None,
    none_match: str | None,
    status: int,
) -> None:
    campaign = await make_campaign()
    given = {"If-Match": match, "If-None-Match": none_match}
    headers = {**manager.headers, **{name: text for name, text in given.items() if text}}
    response = await client.get(f"{PATH}/{campaign.id}", headers=headers)
    assert response.status == status


async def test_a_list_of_versions_is_checked_by_the_worker_too(
    client: aiohttp.ClientSession, manager: Person, make_campaign: MakeCampaign, settings: Settings
) -> None:
    campaign = await make_campaign()
    path = f"{PATH}/{campaign.id}"
    wait = {**manager.headers, "Prefer": "wait=10"}
    first = {**manager.headers, "If-Match": '"3"'}
    accepted = await client.patch(path, json={"name": "One"}, headers=first)
    assert accepted.status == 202
    second = asyncio.create_task(client.delete(path, headers={**wait, "If-Match": '"2", "3"'}))
    async with working(settings, *campaigns.SUBSCRIPTIONS):
        assert (await second).status == 412


async def empty(redis: Redis) -> None:
    await redis.delete(*await redis.keys("idempotency:*"), *await redis.keys("campaign:*"))


@pytest.mark.parametrize(
    ("method", "action", "body"),
    [
        ("PATCH", "", {"name": "New"}),
        ("DELETE", "", None),
        ("POST", "/pause", None),
        ("POST", "/resume", None),
    ],
)
async def test_a_repeated_write_gets_its_result_after_redis_was_flushed(
    client: aiohttp.ClientSession,
    manager: Person,
    make_campaign: MakeCampaign,
    settings: Settings,
    redis: Redis,
    method: str,
    action: str,
    body: Any,
) -> None:
    status = "paused" if action == "/resume" else "active"
    campaign = await make_campaign(status=status, desired_status=status)
    headers = {**manager.headers, "Idempotency-Key": "order-6", "If-Match": '"3"'}
    path = f"{PATH}/{campaign.id}{action}"
    waiting = {**headers, "Prefer": "wait=10"}
    async with working(settings, *campaigns.SUBSCRIPTIONS):
        first = await body_of(await client.request(method, path, json=body, headers=waiting), 200)
        await empty(redis)
        again = await body_of(await client.request(method, path, json=body, headers=waiting), 200)
        assert again["data"] == first["data"]
        await empty(redis)
        later = await body_of(await client.request(method, path, json=body, headers=headers), 202)
        assert later["data"]["state"] == "done"
    if body:
        await empty(redis)
        response = await client.request(method, path, json={"name": "Other"}, headers=headers)
        assert (await error_of(response, 422))["code"] == "IDEMPOTENCY_KEY_REUSED"


async def test_a_repeated_create_gets_its_campaign_after_redis_was_flushed(
    client: aiohttp.ClientSession, manager: Person, settings: Settings, redis: Redis
) -> None:
    headers = {**manager.headers, "Idempotency-Key": "order-7", "Prefer": "wait=10"}
    async with working(settings, *campaigns.SUBSCRIPTIONS):
        first = await body_of(await client.post(PATH, json=DRAFT, headers=headers), 201)
        await empty(redis)
        again = await body_of(await client.post(PATH, json=DRAFT, headers=headers), 201)
        assert again["data"] == first["data"]
        await empty(redis)
        other = {**DRAFT, "name": "Other"}
        response = await client.post(PATH, json=other, headers=headers)
        assert (await error_of(response, 422))["code"] == "IDEMPOTENCY_KEY_REUSED"
