"""Queries for what people did to dead letters, and for bodies as they came."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.tables import dead_letter_history, dead_letter_originals

MAX_ENTRIES = 100  # that a history shows
ADD = text("""
    insert into dead_letter_history (letter_id, actor, action, detail)
    select id, :actor, :action, :detail from unnest(cast(:ids as uuid[])) as id
""")
KEEP = text("""
    insert into dead_letter_originals (letter_id, body)
    select id, body from dead_letters where id = :id on conflict do nothing
""")


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """What ``actor`` did to a letter at ``at`` (UTC)."""

    at: datetime
    actor: str
    action: str
    detail: str


async def add_history(
    tx: AsyncConnection, ids: Sequence[UUID], actor: str, action: str, detail: str = ""
) -> None:
    """Record an action on letters, in its transaction."""
    if ids:
        values = {"ids": list(ids), "actor": actor, "action": action, "detail": detail}
        await tx.execute(ADD, values)


async def list_history(tx: AsyncConnection, letter_id: UUID) -> list[HistoryEntry]:
    """Read the last ``MAX_ENTRIES`` actions on a letter, the oldest first."""
    table = dead_letter_history
    query = (
        select(table.c.at, table.c.actor, table.c.action, table.c.detail)
        .where(table.c.letter_id == letter_id)
        .order_by(table.c.id.desc())
        .limit(MAX_ENTRIES)
    )
    rows = await tx.execute(query)
    return [HistoryEntry(**row) for row in rows.mappings()][::-1]


async def keep_original(tx: AsyncConnection, letter_id: UUID) -> None:
    """Keep the body before its first edit."""
    await tx.execute(KEEP, {"id": letter_id})


async def read_original(tx: AsyncConnection, letter_id: UUID) -> bytes | None:
    """Read the body before its first edit; None if it was not edited."""
    table = dead_letter_originals
    query = select(table.c.body).where(table.c.letter_id == letter_id)
    body: bytes | None = (await tx.execute(query)).scalar_one_or_none()
    return body
