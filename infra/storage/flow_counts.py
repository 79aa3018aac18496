"""Counts what flowed in the last seconds, from the event index and the tables beside it.

The relay writes the index behind the traffic, so a window ends where the index is complete.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.event_index import READER

MAX_DOORS = 500  # groups of one count
FIND_COMPLETE = text("select complete_until from log_positions where reader = :reader")
COUNT_ACCEPTED = text("""
    select split_part(door, ' ', 1) as kind, split_part(door, ' ', 2) as name,
           split_part(door, ' ', 3) as route, from_outbox, count(*) as number
    from event_index where logged_at > :since and logged_at <= :until
    group by 1, 2, 3, 4 order by 5 desc limit :most
""")
# The newest of the window: each has its key in the inbox once it has taken effect.
LIST_ACCEPTED = text("""
    select routing_key, source, event_id, coalesce(accepted_at, logged_at) as accepted_at
    from event_index where logged_at > :since and logged_at <= :until and event_id is not null
    order by logged_at desc, log_offset desc limit :most
""")
FIND_HANDLED = text("""
    select consumer, key, handled_at from inbox
    where (consumer, key) in (
        select * from unnest(cast(:consumers as text[]), cast(:keys as uuid[])))
""")
FIND_DEAD = text("select event_id from dead_letters where event_id = any(cast(:ids as text[]))")
COUNT_PUT_OFF = text("""
    select kind, count(*) as number from waiting_events
    where written_at > now() - make_interval(secs => :seconds) group by kind
""")
# The hours are UTC; a letter that is acted on stays in the hour of its failure.
COUNT_DEAD = text("""
    select coalesce(sum(letters), 0) as number from dead_letter_counts
    where hour >= date_trunc('hour', now(), 'UTC') - interval '1 hour'
""")
LIST_SNOOZED = text("""
    select distinct on (queue) queue, reason from waiting_events
    where kind = 'snoozed' and written_at > now() - make_interval(secs => :seconds)
    order by queue, written_at desc
""")


class AcceptedCount(NamedTuple):
    """Events of one door: its kind (http, webhook, amqp, console) and the words after it."""

    kind: str
    name: str
    route: str
    from_outbox: bool
    number: int


class AcceptedEvent(NamedTuple):
    """An event of the index; ``accepted_at`` is aware, UTC."""

    routing_key: str
    source: str
    event_id: str
    accepted_at: datetime


@dataclass(frozen=True, slots=True)
class PutOffCounts:
    """Events that were put off lately, by kind: retried or snoozed.

    ``snoozed`` has the newest reason of each queue that snoozed some lately.
    """

    by_kind: Mapping[str, int]
    snoozed: Mapping[str, str]


async def find_complete_until(tx: AsyncConnection) -> datetime | None:
    """Find until when the event index is complete (UTC); None before it began."""
    found: datetime | None = (
        await tx.execute(FIND_COMPLETE, {"reader": READER})
    ).scalar_one_or_none()
    return found


async def count_accepted(
    tx: AsyncConnection, until: datetime, seconds: float
) -> Sequence[AcceptedCount]:
    """Count the events that were logged in the ``seconds`` before ``until``, by door."""
    asked = {"since": until - timedelta(seconds=seconds), "until": until, "most": MAX_DOORS}
    return [AcceptedCount(*row) for row in await tx.execute(COUNT_ACCEPTED, asked)]


async def list_accepted(
    tx: AsyncConnection, until: datetime, seconds: float, most: int
) -> Sequence[AcceptedEvent]:
    """List the newest events that were logged in the ``seconds`` before ``until``."""
    asked = {"since": until - timedelta(seconds=seconds), "until": until, "most": most}
    return [AcceptedEvent(*row) for row in await tx.execute(LIST_ACCEPTED, asked)]


async def find_handled(
    tx: AsyncConnection, keys: Collection[tuple[str, UUID]]
) -> Mapping[tuple[str, UUID], datetime]:
    """Find when the transactions began that handled these pairs of consumer and key (UTC)."""
    asked: dict[str, Any] = {
        "consumers": [consumer for consumer, _ in keys],
        "keys": [key for _, key in keys],
    }
    rows = await tx.execute(FIND_HANDLED, asked)
    return {(row.consumer, row.key): row.handled_at for row in rows}


async def find_dead(tx: AsyncConnection, ids: Collection[str]) -> frozenset[str]:
    """Find which of these event ids have a dead letter."""
    rows = await tx.execute(FIND_DEAD, {"ids": sorted(ids)})
    return frozenset(row.event_id for row in rows)


async def count_put_off(tx: AsyncConnection, seconds: float, recent: float) -> PutOffCounts:
    """Count what was put off in the last ``seconds``; reasons are of the last ``recent`` ones."""
    kinds = await tx.execute(COUNT_PUT_OFF, {"seconds": seconds})
    snoozed = await tx.execute(LIST_SNOOZED, {"seconds": recent})
    return PutOffCounts(
        by_kind={row.kind: row.number for row in kinds},
        snoozed={row.queue: row.reason for row in snoozed},
    )


async def count_dead(tx: AsyncConnection) -> int:
    """Count the letters that failed last in this hour (UTC) or the one before it."""
    return int((await tx.execute(COUNT_DEAD)).scalar_one())
