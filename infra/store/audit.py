"""The audit log in Postgres: rows are added, and never changed."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from events.audit import AuditRecorded
from infra.tables import audit
from schemas.audit import Act


async def insert_acts(tx: AsyncConnection, acts: Sequence[AuditRecorded]) -> None:
    """Add what was done, in the transaction that did it."""
    if not acts:
        return
    rows = [
        {
            "id": uuid4(),
            "at": act.time,
            **act.data.model_dump(),
            "correlation_id": act.correlationid,
        }
        for act in acts
    ]
    await tx.execute(insert(audit), rows)


async def list_acts(
    tx: AsyncConnection,
    *,
    actor: UUID | None = None,
    action: str | None = None,
    outcome: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    page: int,
    per_page: int,
) -> tuple[list[Act], int]:
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
    return [Act.model_validate(row, from_attributes=True) for row in rows], total.scalar_one()
