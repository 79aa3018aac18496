"""Queries for events that wait in a retry tier: until when, and why.

A row counts while the inbox has no mark of its key; it is best effort, and no row stands for a
message that the broker does not hold.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

PUT = text("""
    insert into waiting_events (queue, key, kind, tier, due_at, reason, error_class, attempts)
    select * from unnest(
        cast(:queues as text[]), cast(:keys as uuid[]), cast(:kinds as text[]),
        cast(:tiers as text[]), cast(:due as timestamptz[]), cast(:reasons as text[]),
        cast(:classes as text[]), cast(:attempts as integer[])
    ) as put (queue, key, kind, tier, due_at, reason, error_class, attempts)
    order by queue, key
    on conflict (queue, key) do update set kind = excluded.kind, tier = excluded.tier,
        due_at = excluded.due_at, reason = excluded.reason, error_class = excluded.error_class,
        attempts = excluded.attempts, written_at = now()
""")
FIND = text("""
    select queue, key, kind, tier, due_at, reason, error_class, attempts, written_at
    from waiting_events where key = any(cast(:keys as uuid[]))
""")


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    """An event that returns to ``queue`` at ``due_at`` (UTC); ``attempts`` have failed so far."""

    queue: str
    key: UUID
    kind: str  # retried or snoozed
    tier: str
    due_at: datetime
    reason: str
    error_class: str
    attempts: int
    written_at: datetime | None = None


async def put_waiting_events(tx: AsyncConnection, events: Sequence[WaitingEvent]) -> None:
    """Insert or replace rows; the keys of a queue must differ."""
    await tx.execute(
        PUT,
        {
            "queues": [event.queue for event in events],
            "keys": [event.key for event in events],
            "kinds": [event.kind for event in events],
            "tiers": [event.tier for event in events],
            "due": [event.due_at for event in events],
            "reasons": [event.reason for event in events],
            "classes": [event.error_class for event in events],
            "attempts": [event.attempts for event in events],
        },
    )


async def find_waiting_events(tx: AsyncConnection, keys: Collection[UUID]) -> list[WaitingEvent]:
    """Find the rows of these keys; some may be over."""
    rows = await tx.execute(FIND, {"keys": sorted(keys)})
    return [WaitingEvent(*row) for row in rows]
