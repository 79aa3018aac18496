"""Knows which message kills its process: markers in Postgres, written before it is handled.

A message that is redelivered again and again may kill its process, or may only have been in hand
when infrastructure was unavailable, a connection broke or a process was stopped. The broker counts
all of these alike. So before such a message is handled, alone in its process, a marker is
committed:

    enter    (queue, message) -> holder; a marker with another holder means that the holder did
             not finish: its process died (it is added to ``died``)
    settle   the message is settled: the marker is deleted
    leave    the message is returned on purpose: the marker has no holder

A holder that could not write this, because the database was unavailable, removes itself from
``died`` as soon as it can. The key is a hash of the message's content, so a message without an id
has a marker too, and so has one that was published again. Messages that were delivered fewer than
``ISOLATE_AFTER`` times have none.
"""

import asyncio
from hashlib import blake2b
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.errors import Outage
from infra.messaging.delivery import Delivery

MAX_DEATHS = 8  # deaths in isolation
# Deliveries after which a message is published again: the broker drops it at 100.
REQUEUE_AFTER = 50
LEAVE_TIMEOUT = 2.0  # seconds
KEPT_DAYS = 30

ENTER = text("""
    insert into suspects as known (queue, key, holder, marked_at)
    values (:queue, :key, :holder, now())
    on conflict (queue, key) do update set
        died = case
            when known.holder is null or known.holder = excluded.holder
                or known.holder = any(known.died)
            then known.died
            else known.died || known.holder
        end,
        holder = excluded.holder,
        marked_at = now()
    returning cardinality(died)
""")
SETTLE = text("delete from suspects where queue = :queue and key = :key")
LEAVE = text("""
    update suspects
    set holder = nullif(holder, :holder), died = array_remove(died, :holder)
    where queue = :queue and key = any(cast(:keys as uuid[]))
""")


class Isolation:
    """The markers of one consumer."""

    def __init__(self, queue: str, engine: AsyncEngine) -> None:
        """Become a holder that no marker names."""
        self._queue = queue
        self._engine = engine
        self._holder = uuid4()
        # Markers to give up, not written yet: the database was unavailable.
        self._to_leave: set[UUID] = set()

    async def enter(self, delivery: Delivery) -> int:
        """Mark a message as in hand; returns how many processes died with it in hand.

        Raises ``Outage`` when no marker can be written: it must not be handled then.
        """
        await self.leave_all()
        marker = {"queue": self._queue, "key": message_key(delivery), "holder": self._holder}
        try:
            async with self._engine.begin() as tx:
                return int((await tx.execute(ENTER, marker)).scalar_one())
        except (SQLAlchemyError, OSError) as error:
            raise Outage(f"a message cannot be isolated: {type(error).__name__}") from error

    async def settle(self, delivery: Delivery) -> None:
        """Delete the marker of a settled message, now or as soon as possible."""
        key = message_key(delivery)
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT), self._engine.begin() as tx:
                await tx.execute(SETTLE, {"queue": self._queue, "key": key})
        except (SQLAlchemyError, OSError):
            self._to_leave.add(key)

    async def leave(self, delivery: Delivery) -> None:
        """Give up the marker of a message that is returned, now or as soon as possible."""
        self._to_leave.add(message_key(delivery))
        try:
            await self.leave_all()
        except Outage:
            return

    async def leave_all(self) -> None:
        """Give up markers that could not be written before; raises ``Outage`` if it fails again."""
        if not self._to_leave:
            return
        keys = list(self._to_leave)
        left = {"queue": self._queue, "holder": self._holder, "keys": keys}
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT), self._engine.begin() as tx:
                await tx.execute(LEAVE, left)
        except (SQLAlchemyError, OSError) as error:
            raise Outage(f"a marker cannot be written: {type(error).__name__}") from error
        self._to_leave.difference_update(keys)


def message_key(delivery: Delivery) -> UUID:
    """Hash a message's content: the same for every redelivery and republish."""
    hashed = blake2b(delivery.body, digest_size=16)
    words = [delivery.routing_key, delivery.message_id]
    words += [f"{name}={value}" for name, value in sorted(delivery.attributes.items())]
    hashed.update("".join(f"\0{word}" for word in words).encode(errors="backslashreplace"))
    return UUID(bytes=hashed.digest())
