"""Queries for unrecognised webhooks: the open dead letters of ``webhooks.unrecognised``."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

QUEUE = "webhooks.unrecognised"
READ_NEXT = text("""
    select id, first_failed_at, routing_key, properties, body from dead_letters
    where fingerprint = :fingerprint and state = 'open' and queue = :queue
        and (cast(:at as timestamptz) is null
             or (first_failed_at, id) > (cast(:at as timestamptz), cast(:id as uuid)))
    order by first_failed_at, id limit :limit
""")


class LetterPlace(NamedTuple):
    """The place of a letter in the order of its group: its first failure (UTC), and its id."""

    first_failed_at: datetime
    id: UUID


async def read_next(
    tx: AsyncConnection, fingerprint: str, after: LetterPlace | None, limit: int
) -> Sequence[RowMapping]:
    """Read the next open letters of a group with their bodies, the oldest first."""
    at, letter_id = after or (None, None)
    values = {"fingerprint": fingerprint, "queue": QUEUE, "at": at, "id": letter_id, "limit": limit}
    return (await tx.execute(READ_NEXT, values)).mappings().all()
