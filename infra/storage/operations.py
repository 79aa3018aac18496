"""Queries for operations: the results of writes that the API answered with 202."""

from collections.abc import Sequence

from pydantic_core import to_json
from sqlalchemy import ARRAY, Text, any_, literal, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.tables import operations
from schemas.operations import Operation

PUT = text("""
    insert into operations (id, state, result, error)
    select id, state, result, error from jsonb_to_recordset(cast(:rows as jsonb))
        as r (id text, state text, result jsonb, error jsonb)
    order by id
    on conflict (id) do update set
        state = excluded.state, result = excluded.result, error = excluded.error,
        updated_at = now()
""")


async def find_operation(tx: AsyncConnection, operation_id: str) -> Operation | None:
    """Read an operation; None until a worker has written it."""
    found = await find_operations(tx, [operation_id])
    return found[0] if found else None


async def find_operations(tx: AsyncConnection, ids: Sequence[str]) -> list[Operation]:
    """Read the operations that workers have written, in any order."""
    query = select(*(operations.c[name] for name in Operation.model_fields)).where(
        operations.c.id == any_(literal(ids, ARRAY(Text)))
    )
    rows = await tx.execute(query)
    return [Operation.model_validate(row, from_attributes=True) for row in rows]


async def put_operations(tx: AsyncConnection, rows: Sequence[Operation]) -> None:
    """Insert or update operations; of two with one id the later is written."""
    if rows:
        newest = {row.id: row.model_dump(mode="json") for row in rows}
        await tx.execute(PUT, {"rows": to_json(list(newest.values())).decode()})
