"""The state of a consent that was asked for: once, for one browser, for ten minutes."""

import asyncio
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from infra.security.oauth_state import InvalidState, consume_state, start_authorization

USER = uuid4()


async def test_a_state_leads_back_to_who_began(redis: Redis) -> None:
    begun = await start_authorization(redis, "claude", USER, "session")
    pending = await consume_state(redis, "claude", begun.state, begun.cookie)
    assert (pending.platform, pending.user_id, pending.session_id) == ("claude", USER, "session")
    assert pending.verifier == begun.verifier
    assert 43 <= len(begun.verifier) <= 128  # RFC 7636, section 4.1


async def test_of_many_who_show_a_state_at_once_one_is_let_through(redis: Redis) -> None:
    begun = await start_authorization(redis, "claude", USER, "session")
    shown = [consume_state(redis, "claude", begun.state, begun.cookie) for _ in range(15)]
    came = await asyncio.gather(*shown, return_exceptions=True)
    assert sum(not isinstance(one, InvalidState) for one in came) == 1


@pytest.mark.parametrize("shown", ["platform", "cookie", "state"])
async def test_whatever_differs_is_refused(redis: Redis, shown: str) -> None:
    begun = await start_authorization(redis, "claude", USER, "session")
    right = {"platform": "claude", "state": begun.state, "cookie": begun.cookie}
    with pytest.raises(InvalidState):
        await consume_state(redis, **{**right, shown: "gemini"})
    if shown != "state":  # it is spent all the same
        with pytest.raises(InvalidState):
            await consume_state(redis, **right)


async def test_neither_state_nor_cookie_stands_in_redis(redis: Redis) -> None:
    begun = await start_authorization(redis, "claude", USER, "session")
    [key] = await redis.keys("*")
    everything = f"{key!r} {await redis.get(key)!r}"
    assert begun.verifier in everything
    assert begun.state not in everything
    assert begun.cookie not in everything
    assert begun.state not in repr(begun)


async def test_what_another_release_wrote_is_refused(redis: Redis) -> None:
    begun = await start_authorization(redis, "claude", USER, "session")
    [key] = await redis.keys("*")
    await redis.set(key, b'{"platform": "claude"}')
    with pytest.raises(InvalidState):
        await consume_state(redis, "claude", begun.state, begun.cookie)
