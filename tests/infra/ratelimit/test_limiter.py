"""Tests the shared windows in a real Redis: exact under load, anonymous, expiring."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from limits import parse
from redis.asyncio import Redis

from infra.ratelimit.limiter import MAX_KEYS, SharedLimiter, put_bounded
from infra.ratelimit.policies import UNITS, RateLimitPolicy, RateLimitStatus
from infra.ratelimit.token_bucket import TokenBucket
from infra.settings import Settings
from infra.storage.redis import open_redis

KEY = b"a server key"
EMAIL = "ada@example.com"


def policy(name: str, rate: str) -> RateLimitPolicy:
    return RateLimitPolicy(name, parse(rate), UNITS[name])


API = policy("api", "3/hour")
LOGIN = policy("login", "5/15 minutes")


def granted(status: RateLimitStatus | None) -> bool:
    assert status is not None
    return status.granted


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    """A client with a longer timeout: a busy machine is not an outage."""
    client = open_redis(settings.model_copy(update={"redis_timeout": 5.0}))
    yield client
    await client.aclose()


@pytest.fixture
def limiter(redis: Redis) -> SharedLimiter:
    return SharedLimiter(redis, KEY, 5)


async def test_a_window_grants_its_amount_and_reports_what_is_left(limiter: SharedLimiter) -> None:
    statuses = [await limiter.take(API, "ada") for _ in range(5)]
    assert [granted(one) for one in statuses] == [True, True, True, False, False]
    assert [one.left for one in statuses if one] == [2, 1, 0, 0, 0]
    assert all(3590 < one.wait <= 3600 for one in statuses if one)
    assert granted(await limiter.take(API, "bob"))


async def test_processes_share_a_window_and_agree_when_it_ends(redis: Redis) -> None:
    processes = [SharedLimiter(redis, KEY, 5) for _ in range(3)]
    assert [granted(await one.take(API, "ada")) for one in processes] == [True] * 3
    refused = await processes[0].take(API, "ada")
    other = await processes[1].take(API, "ada")
    assert refused is not None
    assert other is not None
    assert not refused.granted
    assert not other.granted
    assert abs(refused.wait - other.wait) <= 1.5


async def test_many_at_once_are_granted_no_more_than_the_amount(redis: Redis) -> None:
    processes = [SharedLimiter(redis, KEY, 5) for _ in range(4)]
    statuses = await asyncio.gather(
        *(processes[number % 4].take(LOGIN, EMAIL) for number in range(60))
    )
    assert sum(granted(one) for one in statuses) == 5


async def test_a_new_window_starts_when_the_old_one_ends(limiter: SharedLimiter) -> None:
    short = policy("api", "1/second")
    assert granted(await limiter.take(short, "ada"))
    refused = await limiter.take(short, "ada")
    assert refused is not None
    assert not refused.granted
    assert 0 < refused.wait <= 1
    async with asyncio.timeout(10):
        while not granted(await limiter.take(short, "ada")):
            await asyncio.sleep(0.02)


async def test_a_client_with_an_exhausted_window_causes_no_redis_command(
    limiter: SharedLimiter, redis: Redis
) -> None:
    for _ in range(4):
        await limiter.take(API, "ada")
    (key,) = await redis.keys()
    for _ in range(10):
        assert not granted(await limiter.take(API, "ada"))
    assert await redis.get(key) == b"4"


async def test_what_is_given_back_does_not_count(limiter: SharedLimiter) -> None:
    for _ in range(20):
        status = await limiter.take(LOGIN, EMAIL)
        assert status is not None
        assert status.granted
        assert (await limiter.give_back(status, EMAIL)).left == 5
    assert sum([granted(await limiter.take(LOGIN, EMAIL)) for _ in range(9)]) == 5


async def test_giving_back_a_rejected_attempt_keeps_the_counted_failures(
    limiter: SharedLimiter,
) -> None:
    for _ in range(5):
        await limiter.take(LOGIN, EMAIL)
    for _ in range(3):
        refused = await limiter.take(LOGIN, EMAIL)
        assert refused is not None
        assert not refused.granted
        assert (await limiter.give_back(refused, EMAIL)).left == 0
    first = RateLimitStatus(LOGIN, 0, 0, granted=True, shared=True)
    await limiter.give_back(first, EMAIL)
    assert granted(await limiter.take(LOGIN, EMAIL))
    assert not granted(await limiter.take(LOGIN, EMAIL))


async def test_keys_expire_and_do_not_name_the_client(limiter: SharedLimiter, redis: Redis) -> None:
    await limiter.take(LOGIN, f"address:203.0.113.9\0{EMAIL}")
    await limiter.take(API, "address:203.0.113.9")
    keys = await redis.keys("limit:*")
    assert len(keys) == len(await redis.keys()) == 2
    for key in keys:
        assert await redis.ttl(key) > 0
        for word in ("ada", "example", "@", "203.0"):
            assert word not in str(key)
    other = SharedLimiter(redis, b"another key", 5)
    await other.take(API, "address:203.0.113.9")
    assert len(await redis.keys()) == 3


def test_the_oldest_entry_is_dropped_at_the_maximum() -> None:
    known = {str(number): TokenBucket(API) for number in range(MAX_KEYS)}
    put_bounded(known, "one more", TokenBucket(API))
    assert len(known) == MAX_KEYS
    assert "0" not in known
    assert "one more" in known
