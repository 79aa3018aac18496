"""Queries for how far readers of the event log have got."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

READ = text("select next_offset from log_positions where reader = :reader")
SAVE = text("""
    insert into log_positions (reader, next_offset) values (:reader, :next_offset)
    on conflict (reader) do update
        set next_offset = excluded.next_offset, updated_at = now()
""")
DELETE = text("delete from log_positions where reader = :reader")


async def read_position(tx: AsyncConnection, reader: str) -> int | None:
    """Read the offset at which a reader goes on; None when it has not begun."""
    return (await tx.execute(READ, {"reader": reader})).scalar_one_or_none()


async def save_position(tx: AsyncConnection, reader: str, next_offset: int) -> None:
    """Save the offset at which a reader goes on."""
    await tx.execute(SAVE, {"reader": reader, "next_offset": next_offset})


async def delete_position(tx: AsyncConnection, reader: str) -> None:
    """Delete the position of a reader that has come to its end."""
    await tx.execute(DELETE, {"reader": reader})
