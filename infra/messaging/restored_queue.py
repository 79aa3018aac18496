"""Runs one queue's processor over events of the log, instead of over what its queue holds.

The inbox drops what the database has already. What fails goes the way of every failure: a retry or
a dead letter, through the outbox, so that it is on its way before the position in the log moves on.
"""

import asyncio
import logging
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.envelope import now
from infra.amqp.message import Message
from infra.backoff import Backoff
from infra.errors import Outage
from infra.messaging import outbox
from infra.messaging.batch_result import BatchResult, FailedDelivery, Work
from infra.messaging.dead_letter import find_letter_id
from infra.messaging.decoder import DecodedDelivery
from infra.messaging.delivery import Delivery
from infra.messaging.processor import BatchProcessor
from infra.messaging.republish import dead_message, retry_message
from infra.messaging.retry_policy import DeadLetterDecision, decide
from infra.messaging.subscription import AnySubscription
from infra.resources import Resources

BATCH = 1000  # events of a transaction; the sums of a batch are bounded for as many
OUTAGE_SECONDS = 300.0  # that the database may be unavailable before the restore gives up

FILED = text("select id from dead_letters where id = any(cast(:ids as uuid[]))")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class RestoreCounts:
    """What became of the events of a queue; ``filed`` were dead letters already."""

    handled: int = 0
    duplicates: int = 0
    retried: int = 0
    dead: int = 0
    filed: int = 0


class RestoredQueue:
    """Processes events of the log for one subscription, batch after batch."""

    def __init__(self, subscription: AnySubscription, resources: Resources) -> None:
        """Have processed nothing."""
        self.name = subscription.queue
        self.counts = RestoreCounts()
        self._resources = resources
        self._processor = BatchProcessor(subscription, resources)
        self._is_single = subscription.batch == 1
        self._slots = asyncio.Semaphore(subscription.parallel)

    async def decode(self, deliveries: Sequence[Delivery], *, has_filed: bool) -> Work:
        """Decode deliveries of the log, but for those that are filed as dead letters.

        ``has_filed`` tells whether there may be any.
        """
        own = [_for_queue(delivery, self.name) for delivery in deliveries]
        if has_filed and own:
            letters = [find_letter_id(self.name, delivery) for delivery in own]
            async with self._resources.engine.connect() as connection:
                filed = await _find_filed(connection, letters)
            self.counts.filed += sum(letter in filed for letter in letters)
            pairs = zip(own, letters, strict=True)
            own = [delivery for delivery, letter in pairs if letter not in filed]
        return self._processor.decode(own)

    async def run(self, items: Sequence[DecodedDelivery]) -> None:
        """Process events in their order; those of a subscription without batches side by side.

        Raises ``Outage`` when the database stays unavailable.
        """
        if self._is_single:
            async with asyncio.TaskGroup() as tasks:
                for item in items:
                    tasks.create_task(self._run_one(item))
            return
        for start in range(0, len(items), BATCH):
            await self._run_batch(items[start : start + BATCH])

    async def fail(self, failed: Sequence[FailedDelivery]) -> None:
        """Send retries and dead letters through the outbox."""
        if not failed:
            return
        messages = [self._build_message(failure) for failure in failed]
        async with self._resources.engine.begin() as tx:
            await outbox.add(tx, messages)

    async def _run_one(self, item: DecodedDelivery) -> None:
        async with self._slots:
            await self._run_batch([item])

    async def _run_batch(self, items: Sequence[DecodedDelivery]) -> None:
        work = Work([list(items)], BatchResult(), is_authorized=False)
        backoff = Backoff(first=0.2, longest=5)
        until = asyncio.get_running_loop().time() + OUTAGE_SECONDS
        while True:
            try:
                result = await self._processor.run(work)
                break
            except Outage as error:
                if asyncio.get_running_loop().time() > until:
                    raise
                log.warning("the restore waits", extra={"queue": self.name, "reason": str(error)})
                await backoff.sleep()
        self.counts.handled += len(result.handled)
        self.counts.duplicates += len(result.duplicates)
        await self.fail(result.failed)

    def _build_message(self, failure: FailedDelivery) -> Message:
        delivery = failure.delivery
        decision = decide(failure.error, 0, 0, random.random())  # noqa: S311 - not a secret
        if isinstance(decision, DeadLetterDecision):
            self.counts.dead += 1
            return dead_message(delivery, decision, failure.stage, now())
        self.counts.retried += 1
        return retry_message(delivery, decision, now())


def _for_queue(delivery: Delivery, queue: str) -> Delivery:
    """Make the delivery that the queue had of an event of the log."""
    return Delivery(
        delivery.tag,
        queue,
        delivery.exchange,
        delivery.key,
        delivery.body,
        delivery.header,
        delivery.whole,
        redelivered=False,
    )


async def _find_filed(tx: AsyncConnection, letters: Collection[UUID]) -> set[UUID]:
    return {row.id for row in await tx.execute(FILED, {"ids": list(letters)})}
