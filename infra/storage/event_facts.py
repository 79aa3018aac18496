"""Queries for what is known of events outside of the event index, for many of them at a time."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, and_, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.event_index import READER
from infra.storage.tables import dead_letters

MAX_SOURCES = 2000
MAX_ROWS = 1000
MAX_OUTBOX_BYTES = 1024 * 1024  # of a body that is read

MARKS = text("""
    select consumer, key, handled_at from inbox
    where consumer = any(cast(:consumers as text[])) and key = any(cast(:keys as uuid[]))
""")
SKIPPED = text("""
    select queue, key, skipped_at from skipped_triggers where key = any(cast(:keys as uuid[]))
""")
OUTBOX = text("""
    select id, exchange, routing_key, message_id, properties, created_at, attempts, parked_reason,
        case when octet_length(body) <= :bytes then body else ''::bytea end as body
    from outbox where message_id = any(cast(:ids as text[])) order by id limit :most
""")
SOURCES = text("""
    select source from (
        select unnest(sources) as source from api_keys
        union select unnest(sources) from publishers
    ) as known limit :most
""")
PLATFORM_ID = text("""
    select platform, platform_campaign_id from campaigns
    where id = :id and platform_campaign_id is not null
""")
INDEX_STATE = text("""
    select complete_until, extract(epoch from now() - complete_until) as lag
    from log_positions where reader = :reader
""")
# All columns but the body.
DEAD_COLUMNS = tuple(column for column in dead_letters.c if column.name != "body")


@dataclass(frozen=True, slots=True)
class InboxMark:
    """That ``consumer`` handled the event of this key, and when (UTC)."""

    consumer: str
    key: UUID
    handled_at: datetime


async def find_marks(
    tx: AsyncConnection, consumers: Collection[str], keys: Collection[UUID]
) -> list[InboxMark]:
    """Find which consumers have handled the events of these keys."""
    asked = {"consumers": sorted(consumers), "keys": sorted(keys)}
    return [InboxMark(*row) for row in await tx.execute(MARKS, asked)]


async def find_skipped(
    tx: AsyncConnection, keys: Collection[UUID]
) -> list[tuple[str, UUID, datetime]]:
    """Find which events wait for the resume of an account: queue, key, since when (UTC)."""
    return [(row[0], row[1], row[2]) for row in await tx.execute(SKIPPED, {"keys": sorted(keys)})]


async def find_event_dead_letters(
    tx: AsyncConnection, event_ids: Collection[str]
) -> list[RowMapping]:
    """Find the dead letters of events, the oldest first, without bodies.

    Of one whose event id cannot be read, the id of the message counts.
    """
    ids = sorted(event_ids)
    by_message = and_(dead_letters.c.event_id.is_(None), dead_letters.c.message_id.in_(ids))
    query = (
        select(*DEAD_COLUMNS)
        .where(or_(dead_letters.c.event_id.in_(ids), by_message))
        .order_by(dead_letters.c.first_failed_at, dead_letters.c.id)
        .limit(MAX_ROWS)
    )
    return list((await tx.execute(query)).mappings())


async def find_outbox_rows(tx: AsyncConnection, message_ids: Collection[str]) -> list[Any]:
    """Find messages that are still to be published, in their order; large bodies are empty."""
    asked = {"ids": sorted(message_ids), "bytes": MAX_OUTBOX_BYTES, "most": MAX_ROWS}
    return list(await tx.execute(OUTBOX, asked))


async def list_registered_sources(tx: AsyncConnection) -> list[str]:
    """List the sources of API keys and publishers."""
    return [row.source for row in await tx.execute(SOURCES, {"most": MAX_SOURCES})]


async def find_platform_id(tx: AsyncConnection, campaign_id: UUID) -> tuple[str, str] | None:
    """Find the platform of a campaign and its id there; None where it has none."""
    row = (await tx.execute(PLATFORM_ID, {"id": campaign_id})).one_or_none()
    return None if row is None else (row.platform, row.platform_campaign_id)


async def read_index_state(tx: AsyncConnection) -> tuple[datetime | None, float | None]:
    """Read until when the event index is complete, and how many seconds ago that was."""
    row = (await tx.execute(INDEX_STATE, {"reader": READER})).one_or_none()
    if row is None or row.complete_until is None:
        return None, None
    return row.complete_until, max(0.0, float(row.lag))
