"""Queries for registered publishers: broker users outside of Adrelay that may publish events.

The broker authenticates the user of a message; the row of that user holds the sources that it may
publish and the account that its commands act for, as a row of ``api_keys`` does for HTTP.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.tables import publishers
from schemas.source_namespace import is_reserved_source


@dataclass(frozen=True, slots=True)
class RegisteredPublisher:
    """A broker user, the CloudEvents sources that it may publish, the account that it acts for.

    Raises ``ValueError`` for a reserved source, which Adrelay alone may publish.
    """

    broker_user: str
    sources: frozenset[str]
    owner_id: UUID

    def __post_init__(self) -> None:
        """Reject reserved sources."""
        if ours := sorted(filter(is_reserved_source, self.sources)):
            raise ValueError(f"no publisher may speak for {ours[0]!r}: it is a source of Adrelay")


async def put_publisher(tx: AsyncConnection, publisher: RegisteredPublisher) -> None:
    """Insert or replace a publisher."""
    values = {"sources": sorted(publisher.sources), "owner_id": publisher.owner_id}
    statement = insert(publishers).values(broker_user=publisher.broker_user, **values)
    statement = statement.on_conflict_do_update(index_elements=["broker_user"], set_=values)
    await tx.execute(statement)


def _foreign(sources: Iterable[str]) -> frozenset[str]:
    """Drop reserved sources, which a row may hold from before the check or from manual edits."""
    return frozenset(source for source in sources if not is_reserved_source(source))


async def list_publishers(tx: AsyncConnection) -> dict[str, RegisteredPublisher]:
    """Read all publishers by broker user."""
    rows = await tx.execute(
        select(publishers.c.broker_user, publishers.c.sources, publishers.c.owner_id)
    )
    return {
        row.broker_user: RegisteredPublisher(row.broker_user, _foreign(row.sources), row.owner_id)
        for row in rows
    }
