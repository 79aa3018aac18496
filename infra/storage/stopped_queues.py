"""Queries for queues that were stopped because most of their events failed by errors in code."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.tables import stopped_queues

REASON_LENGTH = 500  # characters


@dataclass(frozen=True, slots=True)
class StoppedQueue:
    """A stopped queue: reason, time (UTC), version of the code and host of the worker."""

    queue: str
    reason: str
    version: str
    worker: str
    stopped_at: datetime


async def stop_queue(
    tx: AsyncConnection, queue: str, *, reason: str, version: str, worker: str
) -> None:
    """Stop a queue; if it is stopped already, replace the reason and keep the time."""
    row = {"reason": reason[:REASON_LENGTH], "version": version, "worker": worker}
    adding = insert(stopped_queues).values(queue=queue, stopped_at=func.now(), **row)
    await tx.execute(adding.on_conflict_do_update(index_elements=["queue"], set_=row))


async def find_stopped_queue(tx: AsyncConnection, queue: str) -> StoppedQueue | None:
    """Find the stop of a queue; None when it is not stopped."""
    asked = select(stopped_queues).where(stopped_queues.c.queue == queue)
    row = (await tx.execute(asked)).one_or_none()
    return None if row is None else StoppedQueue(**row._mapping)  # noqa: SLF001 - public, by its docs


async def list_stopped_queues(tx: AsyncConnection) -> Sequence[StoppedQueue]:
    """List the stopped queues by name."""
    rows = await tx.execute(select(stopped_queues).order_by(stopped_queues.c.queue))
    return [StoppedQueue(**row._mapping) for row in rows]  # noqa: SLF001 - public, by its docs


async def resume_queue(tx: AsyncConnection, queue: str) -> bool:
    """Resume a queue; False when it was not stopped."""
    gone = await tx.execute(delete(stopped_queues).where(stopped_queues.c.queue == queue))
    return gone.rowcount > 0
