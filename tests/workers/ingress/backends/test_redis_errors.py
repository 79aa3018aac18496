"""A Redis that returns errors counts as down: requests go on, and no response is 500."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.settings import Settings
from infra.storage.campaign_cache import put_campaigns
from infra.storage.campaigns import find_campaign
from infra.storage.redis import open_redis
from infra.storage.tables import campaigns, dead_letters
from tests.infra.refusing_redis import REFUSALS, Refusing, open_refusing
from tests.processes import free_port
from tests.workers.ingress.conftest import DRAFT, MakeCampaign, Person, body_of, serving, working
from workers import auth

CAMPAIGNS, AUTH = "/api/v1/campaigns", "/api/v1/auth"
PASSWORD = "correct horse battery staple"


@asynccontextmanager
async def system(
    settings: Settings, redis: Refusing
) -> AsyncIterator[tuple[aiohttp.ClientSession, Settings]]:
    own = settings.model_copy(
        update={"redis_url": redis.url, "redis_timeout": 0.5, "reply_deadline": 0.5}
    )
    async with serving(own) as client, working(own, *auth.SUBSCRIPTIONS):
        yield client, own


async def register(client: aiohttp.ClientSession) -> dict[str, str]:
    body = {"email": f"{uuid4().hex}@example.com", "password": PASSWORD}
    async with asyncio.timeout(20):
        while True:
            async with client.post(f"{AUTH}/register", json=body) as answer:
                # 409: an attempt that was answered with 503 has taken effect after all.
                if answer.status in (201, 409):
                    return body
                assert answer.status == 503, await answer.text()


async def statuses(client: aiohttp.ClientSession, person: Person, login: Any) -> dict[str, int]:
    """Do everything that touches Redis; gives the status of each answer."""
    found = {}
    calls = {
        "login": ("POST", f"{AUTH}/login", login),
        "refresh": ("POST", f"{AUTH}/refresh", {"refresh_token": "A" * 86}),
        "sessions": ("GET", f"{AUTH}/sessions", None),
        "connect": ("GET", "/api/v1/platforms/claude/connect", None),
    }
    for name, (method, path, body) in calls.items():
        async with client.request(
            method, path, json=body, headers=person.headers, allow_redirects=False
        ) as answer:
            found[name] = answer.status
    return found


async def test_a_redis_that_returns_errors_counts_as_down(
    settings: Settings,
    engine: AsyncEngine,
    manager: Person,
    make_campaign: MakeCampaign,
    tmp_path: Path,
) -> None:
    async with open_refusing(tmp_path) as redis, system(settings, redis) as (client, own):
        login = await register(client)
        for how in REFUSALS:
            known = await make_campaign()
            path = f"{CAMPAIGNS}/{known.id}"
            await body_of(await client.get(path, headers=manager.headers), 200)  # in the cache
            await redis.refuse(how)

            await change(engine, own, known.id)
            shown = await body_of(await client.get(path, headers=manager.headers), 200)
            assert shown["data"]["name"] == "changed meanwhile", how  # not the copy of before
            assert await made_twice(client, manager, how) == 1, how
            refused = await statuses(client, manager, login)
            assert refused["login"] == 503, how
            assert set(refused.values()) <= {200, 401, 503}, (how, refused)

            await redis.relent(how)
            await heals(client, manager, login)
    async with engine.connect() as tx:
        assert (await tx.execute(select(func.count()).select_from(dead_letters))).scalar_one() == 0


async def made_twice(client: aiohttp.ClientSession, person: Person, key: str) -> int:
    """Make a campaign twice with one Idempotency-Key; tells how many were made."""
    headers = {**person.headers, "Idempotency-Key": f'"{key}"'}
    made = [await client.post(CAMPAIGNS, json=DRAFT, headers=headers) for _ in range(2)]
    return len({(await body_of(answer, 202))["data"]["id"] for answer in made})


async def heals(client: aiohttp.ClientSession, person: Person, login: Any) -> None:
    healed = {"login": 200, "refresh": 401, "sessions": 200, "connect": 302}
    async with asyncio.timeout(20):
        while await statuses(client, person, login) != healed:
            await asyncio.sleep(0.1)


async def change(engine: AsyncEngine, own: Settings, campaign_id: Any) -> None:
    """Change a campaign as the campaigns worker does: committed, then written through."""
    where = campaigns.c.id == campaign_id
    async with engine.begin() as tx:
        await tx.execute(update(campaigns).where(where).values(name="changed meanwhile", version=9))
        stored = await find_campaign(tx, campaign_id)
    assert stored is not None
    client = open_redis(own)
    await put_campaigns(client, [stored])
    await client.aclose()


async def test_a_redis_cluster_without_slots_counts_as_down(
    settings: Settings, manager: Person, make_campaign: MakeCampaign, tmp_path: Path
) -> None:
    known = await make_campaign()
    # Redis would add 10,000 to its port for the bus of the cluster: more than there are ports.
    cluster = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    async with open_refusing(tmp_path, *cluster) as redis, system(settings, redis) as (client, _):
        path = f"{CAMPAIGNS}/{known.id}"
        await body_of(await client.get(path, headers=manager.headers), 200)
        login = {"email": "nobody@example.com", "password": PASSWORD}
        assert set((await statuses(client, manager, login)).values()) <= {200, 401, 503}
        await redis.give_slots()
        login = await register(client)
        assert (await statuses(client, manager, login))["login"] == 200
