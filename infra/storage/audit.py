"""Queries for the audit log, whose rows are never changed, only deleted after a retention time."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.audit import AuditRecorded
from infra.storage.tables import audit
from schemas.audit import AuditEntry

# Held until the transaction ends: a retry waits for an attempt whose outcome is unknown.
LOCK = text("select pg_advisory_xact_lock(hashtextextended(cast(:id as text), 0))")


async def is_recorded(tx: AsyncConnection, entry_id: UUID) -> bool:
    """Return whether an entry was written, after locking its id until this transaction ends.

    So of two transactions for one id the second waits for the first and then finds its entry.
    """
    await tx.execute(LOCK, {"id": str(entry_id)})
    found = await tx.execute(select(audit.c.id).where(audit.c.id == entry_id))
    return found.first() is not None


async def insert_audit_entries(
    tx: AsyncConnection, events: Sequence[AuditRecorded], ids: Sequence[UUID] = ()
) -> None:
    """Insert audit events in the transaction of the action, under ``ids`` or random ids."""
    if not events:
        return
    rows = [
        {
            "id": entry_id,
            "at": event.time,
            **event.data.model_dump(),
            "correlation_id": event.correlationid,
        }
        for event, entry_id in zip(events, ids or [uuid4() for _ in events], strict=True)
    ]
    await tx.execute(insert(audit), rows)


async def list_audit_entries(
    tx: AsyncConnection,
    *,
    actor: UUID | None = None,
    action: str | None = None,
    outcome: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    page: int,
    per_page: int,
) -> tuple[list[AuditEntry], int]:
    """Read a page (counted from 1) of entries, the newest first, and their total number.

    ``since`` is inclusive, ``until`` exclusive.
    """
    filters = {"actor": actor, "action": action, "outcome": outcome}
    conditions = [audit.c[name] == value for name, value in filters.items() if value is not None]
    if since is not None:
        conditions.append(audit.c.at >= since)
    if until is not None:
        conditions.append(audit.c.at < until)
    total = await tx.execute(select(func.count()).select_from(audit).where(*conditions))
    query = (
        select(audit)
        .where(*conditions)
        .order_by(audit.c.at.desc(), audit.c.id.desc())
        .limit(per_page)
        .offset((page - 1) * per_page)
    )
    rows = await tx.execute(query)
    return [
        AuditEntry.model_validate(row, from_attributes=True) for row in rows
    ], total.scalar_one()
