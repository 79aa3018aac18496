"""Lists of the event index, the newest first, by a name, a type, a source and a range of time.

A list without a name follows the time of the messages. A rare type or source could make it read the
whole index, so one call reads at most ``MAX_SCANNED`` messages and says how far it came.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.event_index import BEFORE, NEWEST, SELECT, IndexCursor, IndexedEvent

MAX_SCANNED = 10_000  # messages that one call reads
NAMES = ("event_id", "subject", "correlation_id", "campaign_id")
FILTERS = {
    "type": "type = :type",
    "source": "source = :source",
}


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What a list has; ``name`` is an id, a subject, a correlation id or a campaign.

    ``since`` is inclusive, ``until`` exclusive; both are aware and compared with when a message was
    logged.
    """

    name: str | None = None
    type: str | None = None
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class EventRows:
    """Messages, and where the list goes on (None: it is at its end)."""

    rows: Sequence[IndexedEvent]
    next: IndexCursor | None


async def list_event_rows(
    tx: AsyncConnection, matching: EventFilter, after: IndexCursor, limit: int
) -> EventRows:
    """List the messages that match, the newest first, from those before ``after``."""
    start = after
    if matching.until is not None and matching.until <= after.logged_at:
        start = IndexCursor(matching.until, 0)
    given: dict[str, Any] = {name: getattr(matching, name) for name in FILTERS}
    given = {name: value for name, value in given.items() if value is not None}
    wanted = [FILTERS[name] for name in given]
    asked = {**given, "at": start.logged_at, "offset": start.log_offset, "limit": limit + 1}
    since = ""
    if matching.since is not None:
        asked["since"] = matching.since
        since = " and logged_at >= :since"
    if matching.name is not None:
        asked["name"] = matching.name
        query = _build_named(since, wanted)
    else:
        query = _build_timed(since, wanted)
        asked["scanned"] = MAX_SCANNED
    rows = [IndexedEvent(*row) for row in await tx.execute(text(query), asked)]
    if len(rows) > limit:
        last = rows[limit - 1]
        return EventRows(rows[:limit], IndexCursor(last.logged_at, last.log_offset))
    if matching.name is not None or not wanted:
        return EventRows(rows, None)
    return EventRows(rows, await _find_scan_end(tx, since, asked))


def _build_named(since: str, wanted: Sequence[str]) -> str:
    """Build a query with one scan for each column that may hold the name."""
    more = "".join(f" and {condition}" for condition in wanted)
    parts = [
        f"({SELECT} where {name} = :name and {BEFORE}{since}{more} {NEWEST})" for name in NAMES
    ]
    return f"select * from ({' union '.join(parts)}) as found {NEWEST}"  # noqa: S608 - our own columns


def _build_timed(since: str, wanted: Sequence[str]) -> str:
    newest = NEWEST.replace(":limit", ":scanned")
    scan = f"{SELECT} where logged_at <= :at and {BEFORE}{since} {newest}"
    where = f"where {' and '.join(wanted)}" if wanted else ""
    return f"select * from ({scan}) as scanned {where} {NEWEST}"  # noqa: S608 - our own columns


async def _find_scan_end(
    tx: AsyncConnection, since: str, asked: dict[str, Any]
) -> IndexCursor | None:
    """Find the last message that was read, None where it was the end."""
    query = f"""
        select logged_at, log_offset from event_index
        where logged_at <= :at and {BEFORE}{since}
        order by logged_at desc, log_offset desc offset :last limit 1
    """  # noqa: S608 - our own columns
    known: dict[str, Any] = {
        name: asked[name] for name in ("at", "offset", "since") if name in asked
    }
    row = (await tx.execute(text(query), known | {"last": MAX_SCANNED - 1})).one_or_none()
    return None if row is None else IndexCursor(row.logged_at, row.log_offset)
