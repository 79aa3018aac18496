"""Lists of operations that have ended, by when they were written last, the newest first."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import RowMapping, literal, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.tables import operations
from schemas.operations import Operation

MAX_SCANNED = 10_000  # operations that one call reads
EVENTS = text("""
    select distinct on (event_id) event_id, type, subject, logged_at from event_index
    where event_id = any(cast(:ids as text[])) and source = :source
    order by event_id, logged_at, log_offset
""")


@dataclass(frozen=True, slots=True)
class OperationRow:
    """An operation with when a worker wrote it first and last (UTC)."""

    operation: Operation
    created_at: datetime
    updated_at: datetime


class OperationCursor(NamedTuple):
    """A place in a list: the operation that was read last."""

    updated_at: datetime
    id: str


@dataclass(frozen=True, slots=True)
class OperationRows:
    """Operations, and where the list goes on (None: it is at its end)."""

    rows: Sequence[OperationRow]
    next: OperationCursor | None


class OperationEvent(NamedTuple):
    """What the event of an operation is: its id, type, subject, and when it was logged (UTC)."""

    id: str
    type: str | None
    subject: str | None
    logged_at: datetime


async def list_operations(
    tx: AsyncConnection, state: str | None, after: OperationCursor | None, limit: int
) -> OperationRows:
    """List operations that have ended, with ``state`` if one is given.

    One call reads at most ``MAX_SCANNED``; pending ones are found by their id alone.
    """
    c = operations.c
    newest = (c.updated_at.desc(), c.id.desc())
    scan = select(operations).where(c.state != "pending").order_by(*newest).limit(MAX_SCANNED)
    if after is not None:
        scan = scan.where(c.updated_at <= after.updated_at)
        scan = scan.where(tuple_(c.updated_at, c.id) < tuple_(*map(literal, after)))
    read = scan.subquery()
    query = select(read).order_by(read.c.updated_at.desc(), read.c.id.desc()).limit(limit + 1)
    if state is not None:
        query = query.where(read.c.state == state)
    rows = [_read(row) for row in (await tx.execute(query)).mappings()]
    if len(rows) > limit:
        last = rows[limit - 1]
        return OperationRows(rows[:limit], OperationCursor(last.updated_at, last.operation.id))
    if state is None:
        return OperationRows(rows, None)
    end = scan.with_only_columns(c.updated_at, c.id).offset(MAX_SCANNED - 1).limit(1)
    found = (await tx.execute(end)).one_or_none()
    return OperationRows(rows, None if found is None else OperationCursor(*found))


async def read_operation_row(tx: AsyncConnection, operation_id: str) -> OperationRow | None:
    """Read one operation; None until a worker has written it."""
    found = await tx.execute(select(operations).where(operations.c.id == operation_id))
    row = found.mappings().one_or_none()
    return None if row is None else _read(row)


async def find_operation_events(
    tx: AsyncConnection, ids: Collection[str], source: str
) -> dict[str, OperationEvent]:
    """Find the events of operations, as far as the event index has them."""
    rows = await tx.execute(EVENTS, {"ids": sorted(ids), "source": source})
    return {row.event_id: OperationEvent(*row) for row in rows}


def _read(row: RowMapping) -> OperationRow:
    told = {name: row[name] for name in Operation.model_fields}
    return OperationRow(Operation.model_validate(told), row["created_at"], row["updated_at"])
