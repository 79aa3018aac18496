"""Messages that leave because a transaction committed, and only then.

``add`` writes them in the handler's transaction. The relay leases rows (short transaction),
publishes them with pipelined confirms (no transaction open), and deletes what was
confirmed (short transaction). A relay that dies leaves its lease to run out; a publish
whose outcome is unknown is repeated with the same message id. A row that can never be
published is parked with its reason for a person to look at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.message import Message

HINTS = "adrelay:outbox"  # Redis channel: rows were written

ADD = text("""
    insert into outbox (exchange, routing_key, message_id, properties, body)
    select * from unnest(
        cast(:exchanges as text[]), cast(:keys as text[]), cast(:ids as text[]),
        cast(cast(:properties as text[]) as jsonb[]), cast(:bodies as bytea[])
    )
""")
LEASE = text("""
    update outbox set leased_until = now() + make_interval(secs => :seconds),
                      attempts = attempts + 1
    where id in (
        select id from outbox
        where parked_reason is null and leased_until < now()
        order by id limit :most for update skip locked
    )
    returning id, exchange, routing_key, message_id, properties, body, attempts
""")
DELETE = text("delete from outbox where id = any(cast(:ids as bigint[]))")
RELEASE = text("""
    update outbox set leased_until = now() + make_interval(secs => :seconds)
    where id = any(cast(:ids as bigint[]))
""")
PARK = text("update outbox set parked_reason = :reason where id = :id")


@dataclass(frozen=True, slots=True)
class Row:
    """A leased row: its id, how often it was leased, and the message it holds."""

    id: int
    attempts: int
    message: Message


async def add(tx: AsyncConnection, messages: Sequence[Message]) -> None:
    """Write messages that are to be published once the transaction has committed."""
    if not messages:
        return
    await tx.execute(
        ADD,
        {
            "exchanges": [m.exchange for m in messages],
            "keys": [m.routing_key for m in messages],
            "ids": [m.message_id for m in messages],
            "properties": [_properties(m) for m in messages],
            "bodies": [m.body for m in messages],
        },
    )


async def hint(redis: Redis) -> None:
    """Wake the relays after a commit; without Redis they look by themselves a little later."""
    try:
        await redis.publish(HINTS, b"")
    except (RedisError, OSError):
        return


async def lease(tx: AsyncConnection, most: int, seconds: float) -> list[Row]:
    """Take at most ``most`` rows that nobody holds, the oldest first, for ``seconds``."""
    rows = await tx.execute(LEASE, {"most": most, "seconds": seconds})
    leased = [
        Row(
            r.id,
            r.attempts,
            _message(r.exchange, r.routing_key, r.message_id, r.properties, r.body),
        )
        for r in rows
    ]
    return sorted(leased, key=lambda row: row.id)


async def delete(tx: AsyncConnection, rows: Sequence[Row]) -> None:
    """Delete rows whose messages the broker has confirmed."""
    await tx.execute(DELETE, {"ids": [row.id for row in rows]})


async def release(tx: AsyncConnection, rows: Sequence[Row], seconds: float) -> None:
    """Give rows back that were not confirmed, to be tried again after ``seconds``."""
    await tx.execute(RELEASE, {"ids": [row.id for row in rows], "seconds": seconds})


async def park(tx: AsyncConnection, row: Row, reason: str) -> None:
    """Set a row aside that can never be published."""
    await tx.execute(PARK, {"id": row.id, "reason": reason})


def _properties(message: Message) -> str:
    kept = {
        "type": message.type,
        "correlation_id": message.correlation_id,
        "content_type": message.content_type,
        "headers": dict(message.headers),
    }
    return orjson.dumps(kept).decode()


def _message(
    exchange: str, key: str, message_id: str, kept: dict[str, object], body: bytes
) -> Message:
    return Message(exchange, key, body, message_id, **kept)  # type: ignore[arg-type]
