"""Messages that are published because a transaction committed, and only then.

``add`` writes them in the handler's transaction. The relay leases rows (short transaction),
publishes them with pipelined confirms (no transaction open), and deletes what was confirmed (short
transaction). The lease of a relay that dies runs out; a publish with an unknown result is repeated
with the same message id. A row that can never be published is parked with its reason.

Rows of one ordering key are published one after the other, in the order in which they were
written: only the oldest of them is ever leased, so no two are in flight, with any number of relays.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.amqp import topology
from infra.amqp.message import Message
from infra.amqp.topology_check import NOTHING_BLOCKED, BlockedPaths
from infra.messaging.headers import OUTBOX
from infra.messaging.ordering_key import ordering_key
from infra.redis_errors import REDIS_ERRORS

NOTIFY_CHANNEL = "adrelay:outbox"  # Redis channel: rows were written
MAX_LEASE_BYTES = 32 * 1024 * 1024  # of bodies in a lease, beyond its first row

ADD = text("""
    insert into outbox (exchange, routing_key, ordering_key, message_id, properties, body)
    select * from unnest(
        cast(:exchanges as text[]), cast(:keys as text[]), cast(:orders as text[]),
        cast(:ids as text[]), cast(cast(:properties as text[]) as jsonb[]),
        cast(:bodies as bytea[])
    )
""")
# A row waits for the older ones of its ordering key, leased or not; those of a queue whose path
# is broken wait for its repair. Beyond the first, rows are leased up to a number of bytes.
LEASE = text("""
    with due as materialized (
        select o.id, octet_length(o.body) as size from outbox as o
        where o.parked_reason is null and o.leased_until < now()
            and (o.ordering_key is null or not exists (
                select from outbox as older
                where older.ordering_key = o.ordering_key and older.parked_reason is null
                    and older.id < o.id
            ))
            and not (o.exchange = :events and array_to_string(
                (string_to_array(o.routing_key, '.'))[1:3], '.') = any(cast(:types as text[])))
            and not (o.exchange = :back and o.routing_key = any(cast(:queues as text[])))
        order by o.id limit :most for update of o skip locked
    ), taken as (
        select id, sum(size) over (order by id) - size as before from due
    )
    update outbox as o set leased_until = now() + make_interval(secs => :seconds)
    from taken where taken.id = o.id and taken.before < :bytes
    returning o.id, o.exchange, o.routing_key, o.ordering_key, o.message_id, o.properties, o.body,
        o.attempts, o.created_at
""")
DELETE = text("delete from outbox where id = any(cast(:ids as bigint[]))")
RELEASE = text("""
    update outbox set leased_until = now() + make_interval(secs => :seconds),
                      attempts = attempts + :refusals
    where id = any(cast(:ids as bigint[]))
""")
PARK = text("""
    update outbox set parked_reason = :reason, attempts = attempts + 1 where id = :id
""")
WAITING = text("""
    select distinct ordering_key from outbox
    where ordering_key = any(cast(:keys as text[])) and parked_reason is null
""")


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A leased row: how often the broker rejected its message, and the message."""

    id: int
    attempts: int
    ordering_key: str | None
    message: Message


async def add(tx: AsyncConnection, messages: Sequence[Message]) -> None:
    """Write messages that are published after the transaction has committed."""
    if not messages:
        return
    await tx.execute(
        ADD,
        {
            "exchanges": [m.exchange for m in messages],
            "keys": [m.routing_key for m in messages],
            "orders": [ordering_key(m) for m in messages],
            "ids": [m.message_id for m in messages],
            "properties": [_properties(m) for m in messages],
            "bodies": [m.body for m in messages],
        },
    )


async def notify(redis: Redis) -> None:
    """Wake the relays after a commit; without Redis they poll a little later."""
    try:
        await redis.publish(NOTIFY_CHANNEL, b"")
    except REDIS_ERRORS:
        return


async def lease(
    tx: AsyncConnection, most: int, seconds: float, blocked: BlockedPaths = NOTHING_BLOCKED
) -> list[OutboxRow]:
    """Lease free rows, the oldest first, for ``seconds``.

    At most ``most`` of them and, apart from the first, at most ``MAX_LEASE_BYTES`` of bodies.
    """
    asked = {
        "most": most,
        "seconds": seconds,
        "bytes": MAX_LEASE_BYTES,
        "events": topology.EVENTS_EXCHANGE,
        "back": topology.RETURN_EXCHANGE,
        "types": list(blocked.types),
        "queues": list(blocked.queues),
    }
    rows = await tx.execute(LEASE, asked)
    leased = [
        OutboxRow(
            r.id,
            r.attempts,
            r.ordering_key,
            _message(r),
        )
        for r in rows
    ]
    return sorted(leased, key=lambda row: row.id)


async def find_waiting_keys(tx: AsyncConnection, keys: Collection[str]) -> set[str]:
    """Find which of these ordering keys have rows that are still to be published."""
    rows = await tx.execute(WAITING, {"keys": list(keys)})
    return {row.ordering_key for row in rows}


async def delete(tx: AsyncConnection, rows: Sequence[OutboxRow]) -> None:
    """Delete rows whose messages the broker has confirmed."""
    await tx.execute(DELETE, {"ids": [row.id for row in rows]})


async def release(
    tx: AsyncConnection, rows: Sequence[OutboxRow], seconds: float, *, refusals: int = 0
) -> None:
    """Return rows that were not confirmed, to be tried again after ``seconds``.

    ``refusals`` is added to how often the broker rejected them: an outage is no rejection.
    """
    asked = {"ids": [row.id for row in rows], "seconds": seconds, "refusals": refusals}
    await tx.execute(RELEASE, asked)


async def park(tx: AsyncConnection, row: OutboxRow, reason: str) -> None:
    """Set aside a row that can never be published."""
    await tx.execute(PARK, {"id": row.id, "reason": reason})


def _properties(message: Message) -> str:
    kept = {
        "type": message.type,
        "correlation_id": message.correlation_id,
        "content_type": message.content_type,
        "headers": dict(message.headers),
    }
    return orjson.dumps(kept).decode()


def _message(row: Any) -> Message:  # noqa: ANN401 - a row of SQLAlchemy
    """Build the message of a row; an event carries when it was written to the outbox."""
    message = Message(row.exchange, row.routing_key, row.body, row.message_id, **row.properties)
    if row.exchange != topology.EVENTS_EXCHANGE:
        return message
    return message._replace(headers={**message.headers, OUTBOX: row.created_at.isoformat()})
