"""Windows in a real Redis: shared, exact under load, anonymous, and what happens without it."""

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from limits import parse
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from infra.budget import Bucket
from infra.deploy.services import redis as server
from infra.deploy.services.daemon import Daemon
from infra.deploy.services.place import Place
from infra.deploy.services.private import Private, start_private, stop_private
from infra.limits import REMEMBERED, Limiter, remember
from infra.policies import UNITS, Policy, Standing
from infra.resources import open_redis
from infra.settings import Settings

KEY = b"a key of the server"
EMAIL = "ada@example.com"


def policy(name: str, rate: str) -> Policy:
    return Policy(name, parse(rate), UNITS[name])


API = policy("api", "3/hour")
LOGIN = policy("login", "5/15 minutes")


def granted(standing: Standing | None) -> bool:
    assert standing is not None
    return standing.granted


def counted(name: str, outcome: str) -> float:
    labels = {"policy": name, "outcome": outcome}
    return REGISTRY.get_sample_value("adrelay_rate_limits_total", labels) or 0.0


def is_alone() -> bool:
    return REGISTRY.get_sample_value("adrelay_rate_limits_alone") == 1


@pytest.fixture
def limiter(redis: Redis) -> Limiter:
    return Limiter(redis, KEY, 5)


async def test_a_window_grants_its_amount_and_tells_what_is_left(limiter: Limiter) -> None:
    standings = [await limiter.take(API, "ada") for _ in range(5)]
    assert [granted(one) for one in standings] == [True, True, True, False, False]
    assert [one.left for one in standings if one] == [2, 1, 0, 0, 0]
    assert all(3590 < one.wait <= 3600 for one in standings if one)
    assert granted(await limiter.take(API, "bob"))


async def test_processes_share_a_window_and_agree_when_it_ends(redis: Redis) -> None:
    processes = [Limiter(redis, KEY, 5) for _ in range(3)]
    assert [granted(await one.take(API, "ada")) for one in processes] == [True] * 3
    refused = await processes[0].take(API, "ada")
    other = await processes[1].take(API, "ada")
    assert refused is not None
    assert other is not None
    assert not refused.granted
    assert not other.granted
    assert abs(refused.wait - other.wait) <= 1.5


async def test_many_at_once_are_granted_no_more_than_the_amount(redis: Redis) -> None:
    processes = [Limiter(redis, KEY, 5) for _ in range(4)]
    standings = await asyncio.gather(
        *(processes[number % 4].take(LOGIN, EMAIL) for number in range(60))
    )
    assert sum(granted(one) for one in standings) == 5


async def test_a_window_begins_anew(limiter: Limiter) -> None:
    short = policy("api", "1/second")
    assert granted(await limiter.take(short, "ada"))
    refused = await limiter.take(short, "ada")
    assert refused is not None
    assert not refused.granted
    assert 0 < refused.wait <= 1
    async with asyncio.timeout(10):
        while not granted(await limiter.take(short, "ada")):
            await asyncio.sleep(0.02)


async def test_a_caller_whose_window_is_spent_costs_redis_nothing(
    limiter: Limiter, redis: Redis
) -> None:
    for _ in range(4):
        await limiter.take(API, "ada")
    (key,) = await redis.keys()
    for _ in range(10):
        assert not granted(await limiter.take(API, "ada"))
    assert await redis.get(key) == b"4"


async def test_what_is_given_back_does_not_count(limiter: Limiter) -> None:
    for _ in range(20):
        standing = await limiter.take(LOGIN, EMAIL)
        assert standing is not None
        assert standing.granted
        assert (await limiter.give_back(standing, EMAIL)).left == 5
    assert sum([granted(await limiter.take(LOGIN, EMAIL)) for _ in range(9)]) == 5


async def test_a_refusal_that_is_given_back_leaves_the_failures_that_were(
    limiter: Limiter,
) -> None:
    for _ in range(5):
        await limiter.take(LOGIN, EMAIL)
    for _ in range(3):
        refused = await limiter.take(LOGIN, EMAIL)
        assert refused is not None
        assert not refused.granted
        assert (await limiter.give_back(refused, EMAIL)).left == 0
    first = Standing(LOGIN, 0, 0, granted=True, shared=True)
    await limiter.give_back(first, EMAIL)
    assert granted(await limiter.take(LOGIN, EMAIL))
    assert not granted(await limiter.take(LOGIN, EMAIL))


async def test_keys_expire_and_do_not_say_who_is_counted(limiter: Limiter, redis: Redis) -> None:
    await limiter.take(LOGIN, f"address:203.0.113.9\0{EMAIL}")
    await limiter.take(API, "address:203.0.113.9")
    keys = await redis.keys("limit:*")
    assert len(keys) == len(await redis.keys()) == 2
    for key in keys:
        assert await redis.ttl(key) > 0
        for word in ("ada", "example", "@", "203.0"):
            assert word not in str(key)
    other = Limiter(redis, b"another key", 5)
    await other.take(API, "address:203.0.113.9")
    assert len(await redis.keys()) == 3


def test_of_too_many_the_oldest_is_forgotten() -> None:
    known = {str(number): Bucket(API) for number in range(REMEMBERED)}
    remember(known, "one more", Bucket(API))
    assert len(known) == REMEMBERED
    assert "0" not in known
    assert "one more" in known


# --- without Redis ------------------------------------------------------------------------------


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Private]:
    """A Redis of this test's own, which may be killed and frozen."""
    place = Place(tmp_path / "redis", durable=False)
    private = start_private(place, ("REDIS_URL",))
    yield private
    process = running(private)
    if process is not None:
        process.resume()
    stop_private(place)
    place.remove()


def running(private: Private) -> psutil.Process | None:
    pid = Daemon(private.place, server.NAME).pid()
    return None if pid is None else psutil.Process(pid)


@asynccontextmanager
async def limiting(private: Private) -> AsyncIterator[Limiter]:
    settings = Settings.model_validate(
        {"redis_url": server.url(private.place, private.ports), "redis_timeout": 0.25}
    )
    client = open_redis(settings)
    try:
        yield Limiter(client, KEY, settings.redis_timeout)
    finally:
        await client.aclose()


def freeze(private: Private) -> None:
    process = running(private)
    assert process is not None
    process.send_signal(signal.SIGSTOP)


def kill(private: Private) -> None:
    Daemon(private.place, server.NAME).stop(signal.SIGKILL)
    assert running(private) is None


def restore(private: Private) -> None:
    process = running(private)
    if process is None:
        start_private(private.place, ("REDIS_URL",))
    else:
        process.resume()


@pytest.mark.parametrize("take_away", [freeze, kill])
async def test_without_redis_requests_pass_and_guesses_are_counted_here(
    private: Private, caplog: pytest.LogCaptureFixture, take_away: object
) -> None:
    assert callable(take_away)
    async with limiting(private) as limiter:
        assert granted(await limiter.take(API, "ada"))
        take_away(private)
        unchecked, refused = counted("api", "unchecked"), counted("login", "refused")
        with caplog.at_level(logging.INFO):
            began = time.monotonic()
            assert [await limiter.take(API, "ada") for _ in range(50)] == [None] * 50
            guesses = [granted(await limiter.take(LOGIN, EMAIL)) for _ in range(9)]
            assert time.monotonic() - began < 10  # 59 times 0.25 s would be 15
        assert guesses == [True] * 5 + [False] * 4
        assert counted("api", "unchecked") == unchecked + 50
        assert counted("login", "refused") == refused + 4
        assert is_alone()
        told = [line for line in caplog.records if line.name == "infra.limits"]
        assert [line.message for line in told] == ["limits are not shared"]
        restore(private)
        async with asyncio.timeout(20):
            while is_alone():
                await limiter.take(API, "bob")
                await asyncio.sleep(0.05)
        standing = await limiter.take(policy("api", "1000000/hour"), "cy")
        assert standing is not None
        assert standing.left == 999_999
        assert granted(await limiter.take(LOGIN, EMAIL))  # counted in common, from the beginning


async def test_an_outage_again_and_again_gives_no_more_guesses_than_one(private: Private) -> None:
    async with limiting(private) as limiter:
        guesses = 0
        for _ in range(2):
            kill(private)
            while not is_alone():
                await limiter.take(API, "bob")
            guesses += sum([granted(await limiter.take(LOGIN, EMAIL)) for _ in range(9)])
            restore(private)
            async with asyncio.timeout(20):
                while is_alone():
                    await limiter.take(API, "bob")
                    await asyncio.sleep(0.05)
        assert guesses == 5


async def test_many_at_once_wait_for_a_frozen_redis_no_longer_than_one(private: Private) -> None:
    async with limiting(private) as limiter:
        await limiter.take(API, "ada")
        freeze(private)
        began = time.monotonic()
        standings = await asyncio.gather(*(limiter.take(LOGIN, EMAIL) for _ in range(100)))
        assert time.monotonic() - began < 10  # one after another would be 25 s
        assert sum(granted(one) for one in standings) == 5


async def test_without_redis_a_guess_that_was_none_is_given_back_here(private: Private) -> None:
    kill(private)
    async with limiting(private) as limiter:
        for _ in range(20):
            standing = await limiter.take(LOGIN, EMAIL)
            assert standing is not None
            assert standing.granted
            assert (await limiter.give_back(standing, EMAIL)).left == 5
        assert sum([granted(await limiter.take(LOGIN, EMAIL)) for _ in range(9)]) == 5


async def test_a_redis_that_is_gone_meanwhile_keeps_what_was_counted(private: Private) -> None:
    async with limiting(private) as limiter:
        standing = await limiter.take(LOGIN, EMAIL)
        assert standing is not None
        kill(private)
        await limiter.give_back(standing, EMAIL)
        assert is_alone()
