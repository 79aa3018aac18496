"""Refresh tokens: one use each, one successor each, and theft ends the family."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from infra.keys import text_of
from infra.sessions import InvalidRefreshToken, RefreshTokenReused, Sessions
from infra.settings import Settings

ADA = uuid4()
KEY = text_of(b"k" * 32)


@pytest.fixture
def patient(redis: Redis, settings: Settings) -> Sessions:
    return Sessions(redis, settings.model_copy(update={"refresh_grace_seconds": 600.0}))


@pytest.fixture
def strict(redis: Redis, settings: Settings) -> Sessions:
    return Sessions(redis, settings.model_copy(update={"refresh_grace_seconds": 0.001}))


async def refused(call: Callable[[], Awaitable[object]], error: type[Exception]) -> None:
    """Call until the grace of a millisecond has passed and the call is refused."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            await call()
        except error:
            return
        await asyncio.sleep(0.002)
    pytest.fail(f"{error.__name__} was not raised")


async def test_each_token_yields_the_next_of_the_same_session(patient: Sessions) -> None:
    issued = await patient.start(ADA)
    tokens = [issued.refresh_token]
    for _ in range(5):
        following = await patient.rotate(tokens[-1])
        assert following.session == issued.session
        tokens.append(following.refresh_token)
    assert len(set(tokens)) == 6


async def test_within_the_grace_a_spent_token_yields_the_same_successor(patient: Sessions) -> None:
    issued = await patient.start(ADA)
    first = await patient.rotate(issued.refresh_token)
    again = await patient.rotate(issued.refresh_token)
    assert again == first
    await patient.rotate(first.refresh_token)
    assert await patient.rotate(issued.refresh_token) == first


async def test_two_tabs_that_refresh_at_once_get_the_same_successor(patient: Sessions) -> None:
    issued = await patient.start(ADA)
    both = await asyncio.gather(*(patient.rotate(issued.refresh_token) for _ in range(10)))
    assert len({one.refresh_token for one in both}) == 1


async def test_after_the_grace_a_spent_token_ends_the_session(strict: Sessions) -> None:
    issued = await strict.start(ADA)
    stolen = await strict.rotate(issued.refresh_token)
    await refused(lambda: strict.rotate(issued.refresh_token), RefreshTokenReused)
    with pytest.raises(InvalidRefreshToken):
        await strict.rotate(stolen.refresh_token)


async def test_reuse_tells_whose_session_it_was_and_does_so_again(strict: Sessions) -> None:
    issued = await strict.start(ADA)
    await strict.rotate(issued.refresh_token)
    await refused(lambda: strict.rotate(issued.refresh_token), RefreshTokenReused)
    with pytest.raises(RefreshTokenReused) as reuse:
        await strict.rotate(issued.refresh_token)
    assert reuse.value.session == issued.session


async def test_one_session_ends_alone(strict: Sessions) -> None:
    one, other = await strict.start(ADA), await strict.start(ADA)
    await strict.rotate(one.refresh_token)
    await refused(lambda: strict.rotate(one.refresh_token), RefreshTokenReused)
    await strict.rotate(other.refresh_token)


async def test_logout_ends_the_session_for_all_its_tokens(patient: Sessions) -> None:
    issued = await patient.start(ADA)
    following = await patient.rotate(issued.refresh_token)
    assert await patient.end(issued.refresh_token) == issued.session
    for token in (issued.refresh_token, following.refresh_token):
        with pytest.raises(InvalidRefreshToken):
            await patient.rotate(token)


async def test_a_repeated_logout_has_the_same_answer_and_a_later_one_finds_nothing(
    patient: Sessions,
) -> None:
    issued = await patient.start(ADA)
    following = await patient.rotate(issued.refresh_token)
    assert await patient.end(issued.refresh_token) == issued.session
    assert await patient.end(issued.refresh_token) == issued.session
    assert await patient.end(following.refresh_token) is None


async def test_a_token_that_we_never_issued_is_refused_and_ends_nothing(
    patient: Sessions, redis: Redis, settings: Settings
) -> None:
    issued = await patient.start(ADA)
    forger = Sessions(redis, settings.model_copy(update={"refresh_key": _secret(KEY)}))
    forged = forger._token(bytes.fromhex(issued.session.id) + b"s" * 32)
    short = patient._token(bytes.fromhex(issued.session.id))
    for token in ("", "A", "é", forged, short, issued.refresh_token[:-1] + "_", "A" * 86):
        with pytest.raises(InvalidRefreshToken):
            await patient.rotate(token)
        with pytest.raises(InvalidRefreshToken):
            await patient.end(token)
    await patient.rotate(issued.refresh_token)


async def test_nothing_but_hashes_is_stored(patient: Sessions, redis: Redis) -> None:
    issued = await patient.start(ADA)
    following = await patient.rotate(issued.refresh_token)
    stored = ""
    async for key in redis.scan_iter("session:*"):
        stored += f"{key} "
        if await redis.type(key) == b"hash":
            stored += f"{await redis.hgetall(key)} "
    assert str(ADA) in stored
    for token in (issued.refresh_token, following.refresh_token):
        assert token not in stored
        assert token[22:64] not in stored


async def test_a_session_ends_by_itself_after_the_life_of_its_last_token(
    patient: Sessions, redis: Redis, settings: Settings
) -> None:
    issued = await patient.start(ADA)
    await patient.rotate(issued.refresh_token)
    async for key in redis.scan_iter("session:*"):
        assert 0 < await redis.pttl(key) <= settings.refresh_token_seconds * 1000


async def test_without_its_key_the_worker_says_which_variable_is_missing(redis: Redis) -> None:
    with pytest.raises(ValueError, match="REFRESH_KEY"):
        Sessions(redis, Settings(refresh_key=None))


def _secret(text: str) -> object:
    return Settings.model_validate({"refresh_key": text}).refresh_key
