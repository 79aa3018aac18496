"""Queries for replays of the event log into one queue: how far they are, and what a queue knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

READ = text("""
    select next_offset, last_offset, began_at from log_positions where reader = :reader
""")
BEGIN = text("""
    insert into log_positions (reader, next_offset, last_offset, began_at)
    values (:reader, :next_offset, :last_offset, :began_at)
""")
ADVANCE = text("""
    update log_positions set next_offset = :next_offset, updated_at = now()
    where reader = :reader and next_offset = :before and began_at = :began_at
""")
DELETE = text("delete from log_positions where reader = :reader and began_at = :began_at")
# Of an open or a discarded letter a person decides; a replayed one is as any other event.
FIND_DEAD = text("""
    select asked.key from unnest(
        cast(:keys as uuid[]), cast(:sources as text[]), cast(:ids as text[])
    ) as asked (key, source, id)
    where exists (
        select from dead_letters as d
        where d.queue = :queue and d.source = asked.source and d.event_id = asked.id
            and d.state <> 'replayed'
    )
""")
FIND_HANDLED_SINCE = text("""
    select key from inbox
    where consumer = :queue and key = any(cast(:keys as uuid[])) and handled_at >= :since
""")
DELETE_MARKS = text("""
    delete from inbox where consumer = :queue and key = any(cast(:keys as uuid[]))
        and handled_at < :before
""")


@dataclass(frozen=True, slots=True)
class ReplayPosition:
    """How far a replay is: the next and the last offset, and when it began (UTC)."""

    next_offset: int
    last_offset: int
    began_at: datetime


async def read_replay(tx: AsyncConnection, reader: str) -> ReplayPosition | None:
    """Read the position of a replay; None when it has not begun, or has come to its end."""
    row = (await tx.execute(READ, {"reader": reader})).one_or_none()
    return None if row is None else ReplayPosition(*row)


async def begin_replay(tx: AsyncConnection, reader: str, position: ReplayPosition) -> None:
    """Write the position of a replay that begins; raises ``IntegrityError`` if it has begun."""
    await tx.execute(
        BEGIN,
        {
            "reader": reader,
            "next_offset": position.next_offset,
            "last_offset": position.last_offset,
            "began_at": position.began_at,
        },
    )


async def advance_replay(
    tx: AsyncConnection, reader: str, position: ReplayPosition, next_offset: int
) -> bool:
    """Move a replay on from ``position``; False when another process has moved or ended it."""
    asked = {
        "reader": reader,
        "before": position.next_offset,
        "began_at": position.began_at,
        "next_offset": next_offset,
    }
    return (await tx.execute(ADVANCE, asked)).rowcount == 1


async def end_replay(tx: AsyncConnection, reader: str, began_at: datetime) -> None:
    """Delete the position of a replay."""
    await tx.execute(DELETE, {"reader": reader, "began_at": began_at})


async def find_dead(
    tx: AsyncConnection, queue: str, events: Sequence[tuple[UUID, str, str]]
) -> set[UUID]:
    """Find which events (key, source, id) are open or discarded dead letters of a queue."""
    asked = {
        "queue": queue,
        "keys": [key for key, _, _ in events],
        "sources": [source for _, source, _ in events],
        "ids": [event_id for _, _, event_id in events],
    }
    return {row.key for row in await tx.execute(FIND_DEAD, asked)} if events else set()


async def find_handled_since(
    tx: AsyncConnection, queue: str, keys: Sequence[UUID], since: datetime
) -> set[UUID]:
    """Find which events a queue has handled since an aware time."""
    asked = {"queue": queue, "keys": list(keys), "since": since}
    return {row.key for row in await tx.execute(FIND_HANDLED_SINCE, asked)} if keys else set()


async def delete_marks(
    tx: AsyncConnection, queue: str, keys: Sequence[UUID], before: datetime
) -> None:
    """Delete a queue's inbox marks of these events that are older than an aware time."""
    if keys:
        await tx.execute(DELETE_MARKS, {"queue": queue, "keys": list(keys), "before": before})
