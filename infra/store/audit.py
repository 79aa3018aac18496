"""The audit log in Postgres: rows are added, and never changed."""

from collections.abc import Sequence
from uuid import uuid4

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from events.audit import AuditRecorded
from infra.tables import audit


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
