"""Faults of Redis, which holds hints and caches and never the truth: frozen, emptied, gone."""

import asyncio

import pytest
from redis.asyncio import Redis

from tests.chaos.nemesis import Nemesis
from tests.chaos.servers import CACHE
from tests.infra.ledger import until

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
            await _goes_on(nemesis)
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
            await _goes_on(nemesis)
        finally:
            servers.thaw(frozen)
        return len(frozen) > 0

    await nemesis.strike("Redis SIGSTOP", freeze)


async def _goes_on(nemesis: Nemesis) -> None:
    """Wait until what was sent during the fault is applied during the fault."""
    first = nemesis.world.history.next_number
    await until(lambda: nemesis.applied_since(first), 15)


def _url(nemesis: Nemesis) -> str:
    return nemesis.world.settings.redis_url.get_secret_value()
