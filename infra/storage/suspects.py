"""Lists the messages that are tried alone, since they may kill their process.

``infra.messaging.isolation`` writes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

LIST = text("""
    select queue, key, holder is not null as in_hand, cardinality(died) as deaths, marked_at
    from suspects order by marked_at desc limit :most
""")


@dataclass(frozen=True, slots=True)
class Suspect:
    """A message by the hash of its content, and how many processes died with it in hand.

    ``marked_at`` (UTC) is when it was last taken.
    """

    queue: str
    key: UUID
    in_hand: bool
    deaths: int
    marked_at: datetime


async def list_suspects(tx: AsyncConnection, most: int) -> Sequence[Suspect]:
    """List the suspects that were taken last, ``most`` at most."""
    rows = await tx.execute(LIST, {"most": most})
    return [Suspect(**row._mapping) for row in rows]  # noqa: SLF001 - public, by its docs
