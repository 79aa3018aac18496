"""Tests that an OAuth state is valid once, for one browser, for ten minutes."""

import asyncio
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from infra.security.oauth_state import InvalidState, consume_state, start_authorization

USER = uuid4()


async def test_a_state_identifies_the_session_that_started_it(redis: Redis) -> None:
    started = await start_authorization(redis, "claude", USER, "session")
    pending = await consume_state(redis, "claude", started.state, started.cookie)
    assert (pending.platform, pending.user_id, pending.session_id) == ("claude", USER, "session")
    assert pending.verifier == started.verifier
    assert 43 <= len(started.verifier) <= 128  # RFC 7636, section 4.1


async def test_of_many_concurrent_uses_of_a_state_one_succeeds(redis: Redis) -> None:
    started = await start_authorization(redis, "claude", USER, "session")
    shown = [consume_state(redis, "claude", started.state, started.cookie) for _ in range(15)]
    came = await asyncio.gather(*shown, return_exceptions=True)
    assert sum(not isinstance(one, InvalidState) for one in came) == 1


@pytest.mark.parametrize("shown", ["platform", "cookie", "state"])
async def test_another_platform_cookie_or_state_is_rejected(redis: Redis, shown: str) -> None:
    started = await start_authorization(redis, "claude", USER, "session")
    right = {"platform": "claude", "state": started.state, "cookie": started.cookie}
    with pytest.raises(InvalidState):
        await consume_state(redis, **{**right, shown: "gemini"})
    if shown != "state":  # it is spent all the same
        with pytest.raises(InvalidState):
            await consume_state(redis, **right)


async def test_neither_state_nor_cookie_is_stored_in_redis(redis: Redis) -> None:
    started = await start_authorization(redis, "claude", USER, "session")
    [key] = await redis.keys("*")
    everything = f"{key!r} {await redis.get(key)!r}"
    assert started.verifier in everything
    assert started.state not in everything
    assert started.cookie not in everything
    assert started.state not in repr(started)


async def test_a_value_of_another_version_is_rejected(redis: Redis) -> None:
    started = await start_authorization(redis, "claude", USER, "session")
    [key] = await redis.keys("*")
    await redis.set(key, b'{"platform": "claude"}')
    with pytest.raises(InvalidState):
        await consume_state(redis, "claude", started.state, started.cookie)
