"""kill -9 of any one process in the middle of traffic loses nothing and doubles nothing."""

import asyncio
import hashlib
import hmac
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import orjson
import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.settings import Settings
from tests.e2e.system import MODULES, System, eventually, running_system, settled
from tests.infra.ledger import count, publish, report

CAMPAIGNS = 30
WEBHOOKS = 60
UPSTREAM = 200
DAY = "2026-11-20"
# One that takes, one that handles, one that publishes what waits; the others in `make chaos`.
KINDS = ("web", "metrics", "relay")
VICTIMS = [pytest.param(name, marks=() if name in KINDS else pytest.mark.long) for name in MODULES]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("victim", VICTIMS)
async def test_a_killed_process_loses_nothing_and_doubles_nothing(
    settings: Settings, broker: AbstractConnection, engine: AsyncEngine, victim: str
) -> None:
    async with running_system(settings) as system:
        await system.register()
        known = await _create(system, "first")
        await eventually(lambda: _active(engine, 1))
        platform_id = await _platform_id(engine, known)

        traffic = asyncio.gather(
            *(_create(system, f"campaign {n}") for n in range(CAMPAIGNS)),
            *(_webhook(system, settings, platform_id, n) for n in range(WEBHOOKS)),
            _upstream(broker, known),
        )
        for _ in range(2):
            await asyncio.sleep(0.3)  # A moment of the traffic, whichever it is.
            await system.kill(victim)
        await traffic
        await eventually(lambda: _active(engine, CAMPAIGNS + 1), 90)
        await eventually(lambda: settled(engine, broker), 90)
        # A message in a worker's hands is in no count of the broker's.
        await eventually(lambda: _are_recorded(engine, known), 90)

        await _check_effects(engine, known)
        await _check_platform(system)


async def _are_recorded(engine: AsyncEngine, known: str) -> bool:
    """Tell whether both days have the figures of every report, or more than these."""
    rows = f"from campaign_metrics where campaign_id = '{known}'"
    total = await count(engine, f"select coalesce(sum(impressions), 0) {rows}")
    return total >= WEBHOOKS - 1 + sum(range(UPSTREAM))


async def _check_effects(engine: AsyncEngine, known: str) -> None:
    """Every accepted command, report and webhook has had its effect once."""
    assert await count(engine, "select count(*) from dead_letters") == 0
    assert await count(engine, "select count(*) from campaigns") == CAMPAIGNS + 1
    assert await count(engine, "select count(*) from operations where state = 'done'") == (
        CAMPAIGNS + 1
    )
    rows = f"from campaign_metrics where campaign_id = '{known}'"
    assert await count(engine, f"select impressions {rows} and date = '{DAY}'") == WEBHOOKS - 1
    # Deltas show every loss and every doubling.
    expected = sum(range(UPSTREAM))
    assert await count(engine, f"select impressions {rows} and date = '2026-11-22'") == expected


async def _check_platform(system: System) -> None:
    """The platform holds each campaign once."""
    async with system.http.get(f"{system.sandbox}/_control/claude/campaigns") as answer:
        held = await answer.json()
    names = [campaign["desired"]["name"] for campaign in held]
    assert sorted(names) == sorted({"first", *(f"campaign {n}" for n in range(CAMPAIGNS))})


async def _insist(system: System, method: str, path: str, body: bytes, headers: Any) -> Any:
    """Send a request again until it is answered with success, as any client would."""
    while True:
        try:
            async with system.http.request(
                method, system.url + path, data=body, headers=headers
            ) as answer:
                if answer.status < 300:
                    return await answer.json(content_type=None)
                assert answer.status == 503, await answer.text()
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.1)


async def _create(system: System, name: str) -> str:
    body = {
        "name": name,
        "budget": 10.5,
        "platform": "claude",
        "targeting": {"interests": ["books"], "age_range": [18, 40]},
    }
    headers = {
        "Authorization": f"Bearer {system.token}",
        "Content-Type": "application/json",
        "Idempotency-Key": f'"{uuid4().hex}"',
    }
    path = "/api/v1/campaigns"
    answer = await _insist(system, "POST", path, orjson.dumps(body), headers)
    identity: str = answer["data"]["id"]
    return identity


async def _webhook(system: System, settings: Settings, platform_id: str, number: int) -> None:
    data = {
        "campaignId": platform_id,
        "date": DAY,
        "impressions": number,
        "clicks": 0,
        "conversions": 0,
        "spend": 0,
    }
    # Cumulative figures of one instant: the largest stays.
    when = "2026-11-20T12:00:00Z"
    event = {"id": f"evt_{number}", "event": "campaign.metrics_updated"}
    body = orjson.dumps(event | {"data": data | {"occurredAt": when}})
    secret = settings.claude_webhook_secret.get_secret_value().encode()
    signature = hmac.new(secret, body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "X-Claude-Signature": signature}
    for _ in range(2):
        await _insist(system, "POST", "/webhooks/claude", body, headers)


async def _upstream(broker: AbstractConnection, campaign_id: str) -> None:
    """Publish deltas straight to the broker, every one of them twice."""
    for first in range(0, UPSTREAM, 20):
        events = [_delta(n, campaign_id) for n in range(first, first + 20)]
        await publish(broker, *events, *events)
        await asyncio.sleep(0.02)


def _delta(number: int, campaign_id: str) -> Any:
    event = report(number)
    changes = {"campaign_id": UUID(campaign_id), "platform_campaign_id": None, "mode": "delta"}
    return event.model_copy(update={"data": event.data.model_copy(update=changes)})


async def _active(engine: AsyncEngine, campaigns: int) -> bool:
    active = "select count(*) from campaigns where status = 'active'"
    return await count(engine, active) >= campaigns


async def _platform_id(engine: AsyncEngine, campaign_id: str) -> str:
    async with engine.connect() as connection:
        query = text("select platform_campaign_id from campaigns where id = :id")
        return str((await connection.execute(query, {"id": campaign_id})).scalar_one())
