"""Queries for the marks of the event log: how far it has taken effect in this database.

A mark is written in a transaction of its own, after what it tells was read. So whatever contains
the mark (a base backup, a dump, a standby that lags) contains every effect that it speaks of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

LATEST = text("select * from log_marks order by marked_at desc limit 1")
# How old the event at an offset is: at least as old as the last mark before it.
INSERT = text("""
    insert into log_marks (marked_at, end_offset, settled_offset, oldest_unsettled_seconds)
    select clock_timestamp(), :end_offset, :settled_offset,
        case when cast(:settled_offset as bigint) >= :end_offset then 0 else coalesce((
            select extract(epoch from clock_timestamp() - coalesce(
                max(marked_at) filter (where end_offset <= :settled_offset), min(marked_at)
            )) from log_marks
        ), 0) end
    returning *
""")
# Of what a queue has handled, the inbox has a mark; of what it has rejected, a dead letter is
# filed, in whatever state it is by now.
UNSETTLED = text("""
    select asked.number from unnest(
        cast(:numbers as integer[]), cast(:queues as text[]), cast(:keys as uuid[]),
        cast(:letters as uuid[])
    ) as asked (number, queue, key, letter)
    where not exists (
        select from inbox where consumer = asked.queue and inbox.key = asked.key
    ) and not exists (select from dead_letters where id = asked.letter)
    order by asked.number limit 1
""")


@dataclass(frozen=True, slots=True)
class LogMark:
    """Where the log ended at a time (aware, UTC): the offset of the next event.

    Every event before ``settled_offset`` was settled: handled, or filed as a dead letter. The
    oldest one that was not settled was about ``oldest_unsettled_seconds`` old, 0 without one.
    """

    marked_at: datetime
    end_offset: int
    settled_offset: int
    oldest_unsettled_seconds: float


@dataclass(frozen=True, slots=True)
class EventTrace:
    """By what it is found that a queue has settled an event: its inbox key, its dead letter."""

    queue: str
    key: UUID | None
    letter: UUID


async def read_latest_mark(tx: AsyncConnection) -> LogMark | None:
    """Read the latest mark; None before the first."""
    row = (await tx.execute(LATEST)).one_or_none()
    return None if row is None else LogMark(**row._mapping)  # noqa: SLF001 - public, by its docs


async def insert_mark(tx: AsyncConnection, end_offset: int, settled_offset: int) -> LogMark:
    """Write a mark with the present time."""
    values = {"end_offset": end_offset, "settled_offset": settled_offset}
    row = (await tx.execute(INSERT, values)).one()
    return LogMark(**row._mapping)  # noqa: SLF001 - public, by its docs


async def find_unsettled(tx: AsyncConnection, traces: Sequence[EventTrace]) -> int | None:
    """Find the first of these events that its queue has not settled: its place, from 0."""
    if not traces:
        return None
    asked = {
        "numbers": list(range(len(traces))),
        "queues": [trace.queue for trace in traces],
        "keys": [trace.key for trace in traces],
        "letters": [trace.letter for trace in traces],
    }
    return (await tx.execute(UNSETTLED, asked)).scalar_one_or_none()
