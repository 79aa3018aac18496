"""The index of the event log: what was logged when, by which door, and what caused it.

It is written behind the traffic (``infra.messaging.event_indexer``), in partitions of a day (UTC).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

READER = "event_index"  # its row in log_positions


class IndexedEvent(NamedTuple):
    """A message of the log; times are aware, UTC."""

    log_offset: int
    logged_at: datetime
    accepted_at: datetime | None
    occurred_at: datetime | None
    from_outbox: bool
    door: str
    routing_key: str
    type: str | None
    source: str
    event_id: str | None
    subject: str | None
    correlation_id: str | None
    causation_id: str | None
    causation_source: str | None
    campaign_id: str | None
    result: str | None


@dataclass(frozen=True, slots=True)
class IndexPosition:
    """How far the index has got: the next offset, and the hash of the message before it."""

    next_offset: int
    fingerprint: UUID | None


COLUMNS = IndexedEvent._fields

FIND_POSITION = text("""
    select next_offset, fingerprint from log_positions where reader = :reader
""")
MOVE_POSITION = text("""
    insert into log_positions (reader, next_offset, fingerprint, logged_at, complete_until)
    values (:reader, :next, :fingerprint, :at, :complete)
    on conflict (reader) do update set next_offset = excluded.next_offset,
        fingerprint = excluded.fingerprint, logged_at = excluded.logged_at,
        complete_until = excluded.complete_until, updated_at = now()
        where log_positions.next_offset = :before
""")
SET_COMPLETE = text("""
    update log_positions set complete_until = now(), updated_at = now() where reader = :reader
""")


async def find_position(tx: AsyncConnection) -> IndexPosition | None:
    """Find where the index goes on; None before it began."""
    row = (await tx.execute(FIND_POSITION, {"reader": READER})).one_or_none()
    return None if row is None else IndexPosition(row.next_offset, row.fingerprint)


async def write_events(
    tx: AsyncConnection,
    events: Sequence[IndexedEvent],
    *,
    before: int | None,
    position: IndexPosition,
    complete_until: datetime,
) -> bool:
    """Write a batch and the position behind it, in the caller's transaction.

    ``before`` is the offset of the position so far (None: there was none). Returns False when the
    position is another one, since another process has written: then the caller rolls back.
    """
    moved = await tx.execute(
        MOVE_POSITION,
        {
            "reader": READER,
            "next": position.next_offset,
            "fingerprint": position.fingerprint,
            "at": events[-1].logged_at if events else None,
            "complete": complete_until,
            "before": before,
        },
    )
    if moved.rowcount != 1:
        return False
    if not events:
        return True
    raw: Any = await tx.get_raw_connection()
    await raw.driver_connection.copy_records_to_table(
        "event_index", records=events, columns=COLUMNS
    )
    return True


async def mark_complete(tx: AsyncConnection) -> None:
    """Note that everything logged until now is in the index."""
    await tx.execute(SET_COMPLETE, {"reader": READER})


# --- queries ------------------------------------------------------------------------------------

SELECT = f"select {', '.join(COLUMNS)} from event_index"  # noqa: S608 - our own columns
BY_ID = text(f"{SELECT} where event_id = :id order by logged_at, log_offset limit :limit")
BY_ID_AND_SOURCE = text(f"""
    {SELECT} where event_id = :id and source = any(cast(:sources as text[]))
    order by logged_at, log_offset limit :limit
""")
BY_CAUSE = text(f"""
    {SELECT} where causation_id = any(cast(:ids as text[]))
    order by logged_at, log_offset limit :limit
""")
BEFORE = "(logged_at, log_offset) < (:at, :offset)"
NEWEST = "order by logged_at desc, log_offset desc limit :limit"


@dataclass(frozen=True, slots=True)
class IndexCursor:
    """A place in a list, the newest first: the row that was given last."""

    logged_at: datetime
    log_offset: int


LIST_END = IndexCursor(datetime(9999, 1, 1, tzinfo=UTC), 0)  # before all rows of a list


async def find_by_id(
    tx: AsyncConnection, event_id: str, sources: Collection[str] | None, limit: int
) -> list[IndexedEvent]:
    """Find the messages of an id, the oldest first; ``sources`` limits them, None does not."""
    if sources is None:
        rows = await tx.execute(BY_ID, {"id": event_id, "limit": limit})
    else:
        asked = {"id": event_id, "sources": sorted(sources), "limit": limit}
        rows = await tx.execute(BY_ID_AND_SOURCE, asked)
    return list(map(_read, rows))


async def find_caused(tx: AsyncConnection, ids: Collection[str], limit: int) -> list[IndexedEvent]:
    """Find what the events of these ids have caused, the oldest first."""
    rows = await tx.execute(BY_CAUSE, {"ids": sorted(ids), "limit": limit})
    return list(map(_read, rows))


async def list_events(
    tx: AsyncConnection,
    columns: Sequence[str],
    values: Collection[str],
    sources: Collection[str] | None,
    after: IndexCursor,
    limit: int,
) -> list[IndexedEvent]:
    """List the messages that have one of ``values`` in one of ``columns``, the newest first."""
    # One scan for each value: an index gives the newest rows of one value in their order.
    limited = "" if sources is None else "and source = any(cast(:sources as text[]))"
    asked: dict[str, Any] = {
        "at": after.logged_at,
        "offset": after.log_offset,
        "limit": limit,
        **{f"value{number}": value for number, value in enumerate(sorted(values))},
    }
    if sources is not None:
        asked["sources"] = sorted(sources)
    parts = [
        f"({SELECT} where {column} = :value{number} and {BEFORE} {limited} {NEWEST})"
        for column in columns
        for number in range(len(values))
    ]
    query = text(f"select * from ({' union '.join(parts)}) as found {NEWEST}")  # noqa: S608 - our own columns
    return list(map(_read, await tx.execute(query, asked)))


def _read(row: Any) -> IndexedEvent:  # noqa: ANN401 - a row of SQLAlchemy
    return IndexedEvent(*row)
