"""Foreign publishers: users of the broker beside ours, and what they may speak for.

The broker says who published a message; this says which sources are theirs, and in whose name
they ask for campaigns, as ``api_keys`` does for what comes over HTTP.
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
    """A user of the broker, the CloudEvents sources it speaks for, the account it acts for.

    Raises ``ValueError`` for a source of ours: nobody else may speak for that.
    """

    broker_user: str
    sources: frozenset[str]
    owner_id: UUID

    def __post_init__(self) -> None:
        """Refuse sources of ours."""
        if ours := sorted(filter(is_reserved_source, self.sources)):
            raise ValueError(f"no publisher may speak for {ours[0]!r}: it is a source of Adrelay")


async def put_publisher(tx: AsyncConnection, publisher: RegisteredPublisher) -> None:
    """Enter a publisher, or change what it may speak for."""
    says = {"sources": sorted(publisher.sources), "owner_id": publisher.owner_id}
    entering = insert(publishers).values(broker_user=publisher.broker_user, **says)
    entering = entering.on_conflict_do_update(index_elements=["broker_user"], set_=says)
    await tx.execute(entering)


def _foreign(sources: Iterable[str]) -> frozenset[str]:
    """Leave out what a publisher was given before the rule, or by hand."""
    return frozenset(source for source in sources if not is_reserved_source(source))


async def list_publishers(tx: AsyncConnection) -> dict[str, RegisteredPublisher]:
    """Read every publisher, by its user of the broker."""
    rows = await tx.execute(
        select(publishers.c.broker_user, publishers.c.sources, publishers.c.owner_id)
    )
    return {
        row.broker_user: RegisteredPublisher(row.broker_user, _foreign(row.sources), row.owner_id)
        for row in rows
    }
