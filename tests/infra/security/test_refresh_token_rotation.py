"""Tests that a refresh token has one use and one successor, and that reuse ends the session."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from infra.base64url import encode_base64url
from infra.security.refresh_token_rotation import (
    InvalidRefreshToken,
    RefreshTokenReused,
    RefreshTokenStore,
    SessionEnded,
    read_rotation_counts,
)
from infra.settings import Settings

ADA = uuid4()
KEY = encode_base64url(b"k" * 32)


@pytest.fixture
def patient(redis: Redis, settings: Settings) -> RefreshTokenStore:
    return RefreshTokenStore(redis, settings.model_copy(update={"refresh_grace_seconds": 600.0}))


@pytest.fixture
def strict(redis: Redis, settings: Settings) -> RefreshTokenStore:
    return RefreshTokenStore(redis, settings.model_copy(update={"refresh_grace_seconds": 0.001}))


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


async def test_each_token_yields_the_next_of_the_same_session(patient: RefreshTokenStore) -> None:
    issued = await patient.issue(ADA)
    tokens = [issued.refresh_token]
    for _ in range(5):
        following = await patient.rotate(tokens[-1])
        assert following.session == issued.session
        tokens.append(following.refresh_token)
    assert len(set(tokens)) == 6


async def test_within_the_grace_a_spent_token_yields_the_same_successor(
    patient: RefreshTokenStore,
) -> None:
    issued = await patient.issue(ADA)
    first = await patient.rotate(issued.refresh_token)
    again = await patient.rotate(issued.refresh_token)
    assert (first.repeated, first.rotation_count) == (False, 1)
    assert again == replace(first, repeated=True)
    await patient.rotate(first.refresh_token)
    late = await patient.rotate(issued.refresh_token)
    assert late == replace(first, repeated=True, rotation_count=2)


async def test_two_tabs_that_refresh_at_once_get_the_same_successor(
    patient: RefreshTokenStore,
) -> None:
    issued = await patient.issue(ADA)
    both = await asyncio.gather(*(patient.rotate(issued.refresh_token) for _ in range(10)))
    assert len({one.refresh_token for one in both}) == 1


async def test_after_the_grace_a_spent_token_ends_the_session(strict: RefreshTokenStore) -> None:
    issued = await strict.issue(ADA)
    stolen = await strict.rotate(issued.refresh_token)
    await refused(lambda: strict.rotate(issued.refresh_token), RefreshTokenReused)
    with pytest.raises(SessionEnded) as over:
        await strict.rotate(stolen.refresh_token)
    assert over.value.session_id == issued.session.id


async def test_reuse_names_the_session_and_does_so_again(
    strict: RefreshTokenStore,
) -> None:
    issued = await strict.issue(ADA)
    await strict.rotate(issued.refresh_token)
    await refused(lambda: strict.rotate(issued.refresh_token), RefreshTokenReused)
    with pytest.raises(RefreshTokenReused) as reuse:
        await strict.rotate(issued.refresh_token)
    assert reuse.value.session == issued.session


async def test_one_session_ends_alone(strict: RefreshTokenStore) -> None:
    one, other = await strict.issue(ADA), await strict.issue(ADA)
    await strict.rotate(one.refresh_token)
    await refused(lambda: strict.rotate(one.refresh_token), RefreshTokenReused)
    await strict.rotate(other.refresh_token)


async def test_a_revoked_session_is_over_for_all_its_tokens(patient: RefreshTokenStore) -> None:
    issued = await patient.issue(ADA)
    following = await patient.rotate(issued.refresh_token)
    await patient.revoke([issued.session.id])
    for token in (issued.refresh_token, following.refresh_token):
        with pytest.raises(SessionEnded):
            await patient.rotate(token)


async def test_every_token_names_its_session_whatever_its_state(
    patient: RefreshTokenStore,
) -> None:
    issued = await patient.issue(ADA)
    following = await patient.rotate(issued.refresh_token)
    await patient.revoke([issued.session.id])
    for token in (issued.refresh_token, following.refresh_token):
        assert patient.parse_session_id(token) == issued.session.id


async def test_redis_counts_the_rotations_of_each_live_session(
    patient: RefreshTokenStore, strict: RefreshTokenStore, redis: Redis
) -> None:
    new, used, stolen = [await patient.issue(ADA) for _ in range(3)]
    await patient.rotate((await patient.rotate(used.refresh_token)).refresh_token)
    await strict.rotate(stolen.refresh_token)
    await refused(lambda: strict.rotate(stolen.refresh_token), RefreshTokenReused)
    ids = [new.session.id, used.session.id, stolen.session.id, "0" * 32]
    assert await read_rotation_counts(redis, ids) == {new.session.id: 0, used.session.id: 2}
    assert await read_rotation_counts(redis, []) == {}


async def test_ended_sessions_are_forgotten_later_when_redis_is_gone(settings: Settings) -> None:
    nowhere = Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.5)
    await RefreshTokenStore(nowhere, settings).revoke(["0" * 32])
    await nowhere.aclose()


async def test_a_token_that_was_never_issued_is_rejected_and_ends_no_session(
    patient: RefreshTokenStore, redis: Redis, settings: Settings
) -> None:
    issued = await patient.issue(ADA)
    forger = RefreshTokenStore(redis, settings.model_copy(update={"refresh_key": _secret(KEY)}))
    forged = forger._token(bytes.fromhex(issued.session.id) + b"s" * 32)
    short = patient._token(bytes.fromhex(issued.session.id))
    for token in ("", "A", "é", forged, short, issued.refresh_token[:-1] + "_", "A" * 86):
        with pytest.raises(InvalidRefreshToken):
            await patient.rotate(token)
        with pytest.raises(InvalidRefreshToken):
            patient.parse_session_id(token)
    await patient.rotate(issued.refresh_token)


async def test_nothing_but_hashes_is_stored(patient: RefreshTokenStore, redis: Redis) -> None:
    issued = await patient.issue(ADA)
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
    patient: RefreshTokenStore, redis: Redis, settings: Settings
) -> None:
    issued = await patient.issue(ADA)
    await patient.rotate(issued.refresh_token)
    async for key in redis.scan_iter("session:*"):
        assert 0 < await redis.pttl(key) <= settings.refresh_token_seconds * 1000


async def test_without_its_key_the_worker_says_which_variable_is_missing(redis: Redis) -> None:
    with pytest.raises(ValueError, match="REFRESH_KEY"):
        RefreshTokenStore(redis, Settings(refresh_key=None))


def _secret(text: str) -> object:
    return Settings.model_validate({"refresh_key": text}).refresh_key
