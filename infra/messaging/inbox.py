"""What was handled: (consumer, source, id) -> a digest of the content.

The marks commit with the effects, so an event that is marked has taken effect and one that
is not has none. Same id and same digest: a duplicate. Same id and another digest: the
sender used an id twice, which is an error and never swallowed. Only of a webhook the id says
it all: whatever its body says, an id that is known is another attempt at the same delivery.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.sources import WEBHOOK_SOURCE_PREFIX
from infra.messaging.decoder import DecodedDelivery

CLAIM = text("""
    insert into inbox (consumer, key, digest)
    select :consumer, key, digest
    from unnest(cast(:keys as uuid[]), cast(:digests as uuid[])) as asked (key, digest)
    order by key
    on conflict do nothing
    returning key
""")
KNOWN = text("""
    select key, digest from inbox where consumer = :consumer and key = any(cast(:keys as uuid[]))
""")


@dataclass(frozen=True, slots=True)
class Claim:
    """How a batch divides: new events, duplicates, and ids that were used for another event."""

    fresh: list[DecodedDelivery] = field(default_factory=list)
    duplicates: list[DecodedDelivery] = field(default_factory=list)
    reused: list[DecodedDelivery] = field(default_factory=list)


async def claim(tx: AsyncConnection, consumer: str, batch: Sequence[DecodedDelivery]) -> Claim:
    """Mark a batch as handled by ``consumer``, in the transaction of its effects.

    A concurrent claim of the same event waits here until the other transaction ends.
    """
    first: dict[UUID, DecodedDelivery] = {}
    for item in batch:
        first.setdefault(item.key, item)
    asked = sorted(first)
    rows = await tx.execute(
        CLAIM, {"consumer": consumer, "keys": asked, "digests": [first[k].digest for k in asked]}
    )
    won = {row[0] for row in rows}
    known = await _known(tx, consumer, [key for key in asked if key not in won])
    return _divide(batch, first, won, known)


async def unseen(tx: AsyncConnection, consumer: str, batch: Sequence[DecodedDelivery]) -> Claim:
    """Divide a batch without marking anything."""
    first: dict[UUID, DecodedDelivery] = {}
    for item in batch:
        first.setdefault(item.key, item)
    known = await _known(tx, consumer, list(first))
    return _divide(batch, first, first.keys() - known.keys(), known)


async def find_digest(tx: AsyncConnection, consumer: str, key: UUID) -> UUID | None:
    """Get the digest of the event that ``consumer`` handled under this key; None if none."""
    return (await _known(tx, consumer, [key])).get(key)


async def _known(tx: AsyncConnection, consumer: str, keys: list[UUID]) -> dict[UUID, UUID]:
    if not keys:
        return {}
    rows = await tx.execute(KNOWN, {"consumer": consumer, "keys": keys})
    return {row[0]: row[1] for row in rows}


def _divide(
    batch: Sequence[DecodedDelivery],
    first: dict[UUID, DecodedDelivery],
    won: "set[UUID]",
    known: dict[UUID, UUID],
) -> Claim:
    result = Claim()
    for item in batch:
        if item is first[item.key] and item.key in won:
            result.fresh.append(item)
        elif known.get(item.key, first[item.key].digest) == item.digest or _is_webhook(item):
            result.duplicates.append(item)
        else:
            result.reused.append(item)
    return result


def _is_webhook(item: DecodedDelivery) -> bool:
    """Tell whether the id alone identifies an event: platforms rewrite each attempt.

    Standard Webhooks, ``webhook-id``: "this identifier is unique across all messages, but will
    be the same when the same webhook is being resent".
    """
    return str(item.event.source).startswith(WEBHOOK_SOURCE_PREFIX)
