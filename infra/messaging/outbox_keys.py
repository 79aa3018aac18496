"""Which campaigns have commands in the outbox: read from Postgres, or from Redis during an outage.

    outbox rows                         the truth; read first, since Redis may have been emptied
    adrelay:outbox:key:<ordering key>   set after the insert, deleted by the relay
    adrelay:outbox:known                present if every ordering key of the outbox is in Redis

A key holds a token. The relay reads it before it deletes rows, and deletes only keys that still
hold the same token: rows that were written in the meantime keep theirs.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.envelope import new_id
from infra.errors import Outage
from infra.redis_errors import REDIS_ERRORS

KEY = "adrelay:outbox:key:"
ALL_KEYS_PRESENT = "adrelay:outbox:known"
KEY_SECONDS = 30 * 86_400  # seconds
MAX_KEYS = 100_000  # ordering keys that are entered at a time

ALL = text("""
    select distinct ordering_key from outbox
    where ordering_key is not null and parked_reason is null limit :most
""")
CLEAR = "if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('del', KEYS[1]) end"


async def add_keys(redis: Redis, keys: Collection[str]) -> None:
    """Write ordering keys whose rows were committed; without Redis nothing happens."""
    if not keys:
        return
    token = new_id()
    try:
        async with redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.set(KEY + key, token, ex=KEY_SECONDS)
            await pipe.execute()
    except REDIS_ERRORS:
        with suppress(
            *REDIS_ERRORS
        ):  # a full Redis still deletes: it does not know all of them now
            await redis.delete(ALL_KEYS_PRESENT)


async def find_keys(redis: Redis, keys: Collection[str]) -> set[str]:
    """Find which ordering keys are in Redis; raises ``Outage`` when Redis cannot answer."""
    wanted = sorted(keys)
    try:
        known, *found = await redis.mget([ALL_KEYS_PRESENT, *(KEY + key for key in wanted)])
    except REDIS_ERRORS as error:
        raise Outage("Redis does not answer") from error
    entered = {key for key, token in zip(wanted, found, strict=True) if token is not None}
    if known is None and len(entered) < len(wanted):
        raise Outage("Redis has been emptied")
    return entered


async def get_tokens(redis: Redis, keys: Sequence[str]) -> Mapping[str, bytes]:
    """Read the tokens of ordering keys, before their rows are deleted; empty without Redis."""
    if not keys:
        return {}
    try:
        found: list[Any] = await redis.mget([KEY + key for key in keys])
    except REDIS_ERRORS:
        return {}
    return {key: token for key, token in zip(keys, found, strict=True) if token is not None}


async def clear_keys(redis: Redis, held: Mapping[str, bytes]) -> None:
    """Delete ordering keys that have no rows left and still hold these tokens."""
    if not held:
        return
    try:
        async with redis.pipeline(transaction=False) as pipe:
            for key, token in held.items():
                pipe.eval(CLEAR, 1, KEY + key, token)
            await pipe.execute()
    except REDIS_ERRORS:
        return


async def restore_keys(tx: AsyncConnection, redis: Redis) -> None:
    """Write every ordering key of the outbox to Redis, unless they are there already.

    Raises what SQLAlchemy raises; without Redis nothing happens.
    """
    try:
        if await redis.exists(ALL_KEYS_PRESENT):
            return
        keys = [row.ordering_key for row in await tx.execute(ALL, {"most": MAX_KEYS})]
        await add_keys(redis, keys)
        if len(keys) < MAX_KEYS:
            await redis.set(ALL_KEYS_PRESENT, b"1")
    except REDIS_ERRORS:
        return
