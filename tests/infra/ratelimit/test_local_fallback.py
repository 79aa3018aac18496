"""Tests rate limits while Redis is frozen or down: requests pass, guesses are counted locally."""

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from prometheus_client import REGISTRY

from infra.deploy.services import redis as server
from infra.deploy.services.daemon import Daemon
from infra.deploy.services.directories import ServerDirectory
from infra.deploy.services.local_servers import (
    LocalServers,
    start_local_servers,
    stop_local_servers,
)
from infra.ratelimit.limiter import SharedLimiter
from infra.settings import Settings
from infra.storage.redis import open_redis
from tests.infra.ratelimit.test_limiter import API, EMAIL, KEY, LOGIN, granted, policy


def counted(name: str, outcome: str) -> float:
    labels = {"policy": name, "outcome": outcome}
    return REGISTRY.get_sample_value("adrelay_rate_limits_total", labels) or 0.0


def is_local() -> bool:
    return REGISTRY.get_sample_value("adrelay_rate_limits_local") == 1


@pytest.fixture
def local_servers(tmp_path: Path) -> Iterator[LocalServers]:
    """A Redis of this test's own, which may be killed and frozen."""
    directory = ServerDirectory(tmp_path / "redis", durable=False)
    local_servers = start_local_servers(directory, ("REDIS_URL",))
    yield local_servers
    process = running(local_servers)
    if process is not None:
        process.resume()
    stop_local_servers(directory)
    directory.remove()


def running(local_servers: LocalServers) -> psutil.Process | None:
    pid = Daemon(local_servers.directory, server.NAME).pid()
    return None if pid is None else psutil.Process(pid)


@asynccontextmanager
async def limiting(local_servers: LocalServers) -> AsyncIterator[SharedLimiter]:
    settings = Settings.model_validate(
        {
            "redis_url": server.url(local_servers.directory, local_servers.ports),
            "redis_timeout": 0.25,
        }
    )
    client = open_redis(settings)
    try:
        yield SharedLimiter(client, KEY, settings.redis_timeout)
    finally:
        await client.aclose()


def freeze(local_servers: LocalServers) -> None:
    process = running(local_servers)
    assert process is not None
    process.send_signal(signal.SIGSTOP)


def kill(local_servers: LocalServers) -> None:
    Daemon(local_servers.directory, server.NAME).stop(signal.SIGKILL)
    assert running(local_servers) is None


def restore(local_servers: LocalServers) -> None:
    process = running(local_servers)
    if process is None:
        start_local_servers(local_servers.directory, ("REDIS_URL",))
    else:
        process.resume()


@pytest.mark.parametrize("take_away", [freeze, kill])
async def test_without_redis_requests_pass_and_guesses_are_counted_locally(
    local_servers: LocalServers, caplog: pytest.LogCaptureFixture, take_away: object
) -> None:
    assert callable(take_away)
    async with limiting(local_servers) as limiter:
        assert granted(await limiter.take(API, "ada"))
        take_away(local_servers)
        unchecked, refused = counted("api", "unchecked"), counted("login", "refused")
        with caplog.at_level(logging.INFO):
            began = time.monotonic()
            assert [await limiter.take(API, "ada") for _ in range(50)] == [None] * 50
            guesses = [granted(await limiter.take(LOGIN, EMAIL)) for _ in range(9)]
            assert time.monotonic() - began < 10  # 59 times 0.25 s would be 15
        assert guesses == [True] * 5 + [False] * 4
        assert counted("api", "unchecked") == unchecked + 50
        assert counted("login", "refused") == refused + 4
        assert is_local()
        told = [line for line in caplog.records if line.name == "infra.ratelimit.limiter"]
        assert [line.message for line in told] == ["rate limits are local"]
        restore(local_servers)
        async with asyncio.timeout(20):
            while is_local():
                await limiter.take(API, "bob")
                await asyncio.sleep(0.05)
        status = await limiter.take(policy("api", "1000000/hour"), "cy")
        assert status is not None
        assert status.left == 999_999
        assert granted(await limiter.take(LOGIN, EMAIL))  # counted in common, from the beginning


async def test_repeated_outages_allow_only_the_guesses_of_one(
    local_servers: LocalServers,
) -> None:
    async with limiting(local_servers) as limiter:
        guesses = 0
        for _ in range(2):
            kill(local_servers)
            while not is_local():
                await limiter.take(API, "bob")
            guesses += sum([granted(await limiter.take(LOGIN, EMAIL)) for _ in range(9)])
            restore(local_servers)
            async with asyncio.timeout(20):
                while is_local():
                    await limiter.take(API, "bob")
                    await asyncio.sleep(0.05)
        assert guesses == 5


async def test_simultaneous_requests_wait_for_a_frozen_redis_no_longer_than_one(
    local_servers: LocalServers,
) -> None:
    async with limiting(local_servers) as limiter:
        await limiter.take(API, "ada")
        freeze(local_servers)
        began = time.monotonic()
        statuses = await asyncio.gather(*(limiter.take(LOGIN, EMAIL) for _ in range(100)))
        assert time.monotonic() - began < 10  # one after another would be 25 s
        assert sum(granted(one) for one in statuses) == 5


async def test_without_redis_a_successful_attempt_is_given_back_locally(
    local_servers: LocalServers,
) -> None:
    kill(local_servers)
    async with limiting(local_servers) as limiter:
        for _ in range(20):
            status = await limiter.take(LOGIN, EMAIL)
            assert status is not None
            assert status.granted
            assert (await limiter.give_back(status, EMAIL)).left == 5
        assert sum([granted(await limiter.take(LOGIN, EMAIL)) for _ in range(9)]) == 5


async def test_a_give_back_during_an_outage_is_skipped(
    local_servers: LocalServers,
) -> None:
    async with limiting(local_servers) as limiter:
        status = await limiter.take(LOGIN, EMAIL)
        assert status is not None
        kill(local_servers)
        await limiter.give_back(status, EMAIL)
        assert is_local()
