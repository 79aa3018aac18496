"""The audit log in Postgres: rows are added and never changed, and deleted when they are old."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.audit import AuditRecorded
from infra.storage.tables import audit
from schemas.audit import AuditEntry

# A transaction whose end nobody knows holds the lock until it has ended, one way or the other.
LOCK = text("select pg_advisory_xact_lock(hashtextextended(cast(:id as text), 0))")

DELETE_OLD = text("""
    delete from audit where id in (
        select id from audit where at < now() - make_interval(days => :days)
        order by at limit :most for update skip locked
    )
""")


async def is_recorded(tx: AsyncConnection, act_id: UUID) -> bool:
    """Tell whether an act was noted; a transaction that is about to note it is waited for.

    The caller has the act to itself until its own transaction ends.
    """
    await tx.execute(LOCK, {"id": str(act_id)})
    found = await tx.execute(select(audit.c.id).where(audit.c.id == act_id))
    return found.first() is not None


async def insert_audit_entries(
    tx: AsyncConnection, acts: Sequence[AuditRecorded], ids: Sequence[UUID] = ()
) -> None:
    """Add what was done, in the transaction that did it, under ``ids`` or fresh ones."""
    if not acts:
        return
    rows = [
        {
            "id": act_id,
            "at": act.time,
            **act.data.model_dump(),
            "correlation_id": act.correlationid,
        }
        for act, act_id in zip(acts, ids or [uuid4() for _ in acts], strict=True)
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
    """Read a page (counted from 1) of acts, the newest first, and how many there are.

    ``since`` is included, ``until`` is not.
    """
    wanted = {"actor": actor, "action": action, "outcome": outcome}
    conditions = [audit.c[name] == value for name, value in wanted.items() if value is not None]
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


async def delete_old_audit_entries(tx: AsyncConnection, days: int, most: int = 10_000) -> int:
    """Delete acts that were noted ``days`` ago; tells how many."""
    return (await tx.execute(DELETE_OLD, {"days": days, "most": most})).rowcount
