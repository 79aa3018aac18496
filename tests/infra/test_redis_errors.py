"""What Redis' errors mean, and keys that hold something else than we write there."""

from uuid import uuid4

import pytest
from redis import exceptions
from redis._parsers.base import BaseParser
from redis.asyncio import Redis

from infra.messaging.error_classifier import ErrorKind, classify_error
from infra.ratelimit.limiter import SharedLimiter
from infra.redis_errors import is_unavailable, is_wrong_value
from infra.security.oauth_state import InvalidState, consume_state, start_authorization
from infra.security.refresh_token_rotation import (
    RefreshTokenStore,
    SessionEnded,
    read_rotation_counts,
)
from infra.settings import Settings
from infra.storage.campaign_cache import get_campaign, put_campaigns
from tests.infra.ratelimit.test_limiter import API, KEY, granted
from tests.infra.storage.test_campaign_cache import campaign

UNAVAILABLE = [
    "READONLY You can't write against a read only replica.",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "LOADING Redis is loading the dataset in memory",
    "BUSY Redis is busy running a script.",
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "NOPERM this user has no permissions to run the 'set' command",
    "NOREPLICAS Not enough good replicas to write.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "CLUSTERDOWN Hash slot not served",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "MOVED 3999 127.0.0.1:6381",
    "EXECABORT Transaction discarded because of previous errors.",
    "ERR max number of clients reached",
    "ERR Error running script (call to f_1): @user_script:4: -OOM command not allowed when used",
    "ERR Error running script (call to f_1): @user_script:4: READONLY You can't write",
]
OURS = [
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "ERR value is not an integer or out of range",
    "ERR unknown command 'GETDEL'",
    "ERR Error compiling script (new function)",
]


def answered(text: str) -> Exception:
    """Read an error as the client does."""
    found: Exception = BaseParser.parse_error(text)  # type: ignore[no-untyped-call]
    return found


@pytest.mark.parametrize("text", UNAVAILABLE, ids=lambda text: text[:12])
def test_what_redis_says_of_itself_counts_as_gone(text: str) -> None:
    assert is_unavailable(answered(text))
    assert not is_wrong_value(answered(text))


@pytest.mark.parametrize("text", OURS, ids=lambda text: text[:12])
def test_what_is_wrong_with_one_command_says_nothing_about_redis(text: str) -> None:
    assert not is_unavailable(answered(text))


def test_a_lost_connection_counts_as_gone() -> None:
    assert is_unavailable(exceptions.ConnectionError("closed"))
    assert is_unavailable(exceptions.TimeoutError("silent"))
    assert not is_unavailable(ValueError("READONLY"))


async def spoil(redis: Redis, key: bytes | str, how: str) -> None:
    """Put something else where a key was."""
    await redis.delete(key)
    if how == "list":
        await redis.lpush(key, "x")
    else:
        await redis.set(key, "\x00not ours")


@pytest.mark.parametrize("how", ["list", "text"])
async def test_a_spoiled_copy_is_replaced_and_its_neighbours_are_written(
    redis: Redis, how: str
) -> None:
    spoiled, other = campaign(uuid4(), 1), campaign(uuid4(), 1)
    await spoil(redis, f"campaign:{spoiled.id}", how)
    assert await get_campaign(redis, spoiled.id) is None
    await put_campaigns(redis, [spoiled, other])
    assert await get_campaign(redis, spoiled.id) == spoiled
    assert await get_campaign(redis, other.id) == other


@pytest.mark.parametrize("how", ["list", "text"])
async def test_a_spoiled_counter_begins_again_and_others_stay_shared(
    redis: Redis, how: str
) -> None:
    limiter = SharedLimiter(redis, KEY, 1.0)
    await limiter.take(API, "ada")
    (key,) = [key async for key in redis.scan_iter("limit:*")]
    await spoil(redis, key, how)
    await limiter.take(API, "ada")
    bob = await limiter.take(API, "bob")
    assert bob is not None
    assert bob.shared
    ada = await limiter.take(API, "ada")
    assert granted(ada)
    assert ada is not None
    assert ada.shared


@pytest.mark.parametrize("how", ["list", "text"])
async def test_a_spoiled_consent_is_none(redis: Redis, how: str) -> None:
    begun = await start_authorization(redis, "claude", uuid4(), "a" * 32)
    (key,) = [key async for key in redis.scan_iter("consent:*")]
    await spoil(redis, key, how)
    with pytest.raises(InvalidState):
        await consume_state(redis, "claude", begun.state, begun.cookie)
    assert await redis.exists(key) == 0


@pytest.mark.parametrize("how", ["list", "text", "turns", "user"])
async def test_a_spoiled_session_is_over_and_the_others_are_not(
    redis: Redis, settings: Settings, how: str
) -> None:
    sessions = RefreshTokenStore(redis, settings)
    spoiled, other = await sessions.issue(uuid4()), await sessions.issue(uuid4())
    family = f"session:{{{spoiled.session.id}}}"
    if how in ("turns", "user"):
        await redis.hset(family, how, "x")
    else:
        await spoil(redis, family, how)
    known = await read_rotation_counts(redis, [spoiled.session.id, other.session.id])
    assert known[other.session.id] == 0
    with pytest.raises(SessionEnded):
        await sessions.rotate(spoiled.refresh_token)
    assert (await sessions.rotate(other.refresh_token)).rotation_count == 1


@pytest.mark.parametrize("text", UNAVAILABLE, ids=lambda text: text[:12])
def test_a_handler_that_meets_it_spends_no_attempt(text: str) -> None:
    assert classify_error(answered(text)) is ErrorKind.OUTAGE


@pytest.mark.parametrize("text", OURS, ids=lambda text: text[:12])
def test_a_handler_that_meets_a_spoiled_key_pauses_nobody(text: str) -> None:
    assert classify_error(answered(text)) is not ErrorKind.OUTAGE
