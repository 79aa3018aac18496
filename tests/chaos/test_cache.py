"""Faults of Redis, which holds hints and caches only: frozen, emptied, full, read-only, gone."""

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

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


@pytest.mark.long
@pytest.mark.parametrize(
    ("word", "refusal"), [("OOM", OutOfMemoryError), ("READONLY", ReadOnlyError)]
)
async def test_a_cache_that_takes_no_writes_holds_nothing_up(
    nemesis: Nemesis, word: str, refusal: type[ResponseError]
) -> None:
    async def refuse() -> bool:
        async with Redis.from_url(_url(nemesis)) as client:
            await _spoil(client, word)
            try:
                with pytest.raises(refusal):
                    await client.set("chaos", "here")
                await nemesis.goes_on(15)
            finally:
                await _mend(client, word)
        return True

    await nemesis.strike(f"Redis {word}", refuse)


async def _spoil(client: Redis, word: str) -> None:
    if word == "OOM":
        await client.config_set("maxmemory", 1)
    else:
        await client.replicaof("127.0.0.1", "9")


async def _mend(client: Redis, word: str) -> None:
    if word == "OOM":
        await client.config_set("maxmemory", 0)
    else:
        await client.replicaof("NO", "ONE")


def _url(nemesis: Nemesis) -> str:
    return nemesis.world.settings.redis_url.get_secret_value()
