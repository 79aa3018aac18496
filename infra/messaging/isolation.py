"""Isolation of suspects: how we know that a message kills its process.

A message that comes back again and again may kill its process, or may only have been in hand
when infrastructure was gone, a connection broke or a process was stopped. The broker counts all
of these alike. So before a suspect is handled, alone in its process, a marker is committed:

    enter    (queue, message) -> holder; a marker found with another holder means that the
             holder did not come to its end: its process died (it joins ``died``)
    settle   the message is done with: the marker goes
    leave    it is given back on purpose: the marker has no holder any more

A holder that could not write this, since the database was gone, takes itself out of ``died``
as soon as it can; it lives. A message is told by a hash of its content, so one without an id
has a marker too, and so has one that was published again. Messages that were delivered fewer
than ``SUSPECT`` times have none: a healthy message costs nothing.
"""

import asyncio
from hashlib import blake2b
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.errors import Outage
from infra.messaging.delivery import Delivery

MAX_DEATHS = 8  # deaths in isolation
REQUEUE_AFTER = 50  # deliveries; the broker drops a message from its queue at 100
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
FORGET = text("delete from suspects where marked_at < now() - make_interval(days => :days)")


class Isolation:
    """The markers of one consumer."""

    def __init__(self, queue: str, engine: AsyncEngine) -> None:
        """Be a holder that no marker knows."""
        self._queue = queue
        self._engine = engine
        self._holder = uuid4()
        # Given back, and not yet written down: the database was gone.
        self._to_leave: set[UUID] = set()

    async def enter(self, delivery: Delivery) -> int:
        """Mark a message as in hand; tells of how many processes it was the last.

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
        """Remove the marker of a message that is done with, or as soon as that can be written."""
        key = message_key(delivery)
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT), self._engine.begin() as tx:
                await tx.execute(SETTLE, {"queue": self._queue, "key": key})
        except (SQLAlchemyError, OSError):
            self._to_leave.add(key)

    async def leave(self, delivery: Delivery) -> None:
        """Note that a message is given back on purpose, now or as soon as it can be written."""
        self._to_leave.add(message_key(delivery))
        try:
            await self.leave_all()
        except Outage:
            return

    async def leave_all(self) -> None:
        """Write down what could not be written before; raises ``Outage`` when it still cannot."""
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
    """Hash what a message is, the same however often and by which way it comes."""
    hashed = blake2b(delivery.body, digest_size=16)
    words = [delivery.routing_key, delivery.message_id]
    words += [f"{name}={value}" for name, value in sorted(delivery.attributes.items())]
    hashed.update("".join(f"\0{word}" for word in words).encode(errors="backslashreplace"))
    return UUID(bytes=hashed.digest())


async def delete_old_markers(tx: AsyncConnection, days: int = KEPT_DAYS) -> None:
    """Delete markers of messages that nobody has seen for ``days``."""
    await tx.execute(FORGET, {"days": days})
