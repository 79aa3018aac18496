"""Faults of Redis, which holds hints and caches and never the truth: frozen, emptied, gone."""

import asyncio

import pytest
from redis.asyncio import Redis

from tests.chaos.nemesis import Nemesis
from tests.chaos.servers import CACHE

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(150)]


@pytest.mark.long
async def test_a_cache_that_is_emptied_is_not_missed(nemesis: Nemesis) -> None:
    async def flush() -> bool:
        async with Redis.from_url(_url(nemesis)) as client:
            await client.set("chaos", "here")
            await client.flushall()
            return await client.get("chaos") is None

    await nemesis.strike("Redis FLUSHALL", flush)


async def test_a_cache_that_is_gone_holds_nothing_up(nemesis: Nemesis) -> None:
    world = nemesis.world

    async def kill() -> bool:
        before = await asyncio.to_thread(world.servers.kill, CACHE)
        try:
            await nemesis.goes_on(15)
        finally:
            after = await asyncio.to_thread(world.servers.start, CACHE)
        return after != before

    await nemesis.strike("Redis gone", kill)


@pytest.mark.long
async def test_a_cache_that_stands_still_holds_nothing_up(nemesis: Nemesis) -> None:
    servers = nemesis.world.servers

    async def freeze() -> bool:
        frozen = await asyncio.to_thread(servers.freeze, CACHE)
        try:
            await nemesis.goes_on(15)
        finally:
            servers.thaw(frozen)
        return len(frozen) > 0

    await nemesis.strike("Redis SIGSTOP", freeze)


def _url(nemesis: Nemesis) -> str:
    return nemesis.world.settings.redis_url.get_secret_value()
