"""Reads one queue over one channel: an async iterator of batches.

    one_by_one()            basic.get, one message at a time in the whole process
    async for batch in ..   basic.consume with a prefetch; whatever has arrived makes a batch

A message that was delivered ``ISOLATE_AFTER`` times before is put aside until all else is
settled, and then comes as a batch of its own. Returning it to the queue instead would hand it to
another process that reads in batches, and so on, until its delivery count made it a poison
message. (What does not fit into ``MAX_ISOLATED_BYTES`` is returned when the channel closes.)
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterable
from dataclasses import dataclass
from typing import Self

from aiormq.channel import Channel

from infra import metrics
from infra.amqp.connection import with_broker_timeout
from infra.amqp.delivery_parser import DeliveryParser
from infra.errors import Outage
from infra.messaging.acknowledgements import Acknowledgements, ChannelLost
from infra.messaging.batcher import Batcher
from infra.messaging.delivery import Delivery
from infra.messaging.delivery_source import MAX_PREFETCH, DeliverySource
from infra.messaging.subscription import AnySubscription

ISOLATE_AFTER = 2  # earlier deliveries from which on a message is handled alone
MAX_ISOLATED_BYTES = 16 * 1024 * 1024
DRAIN_INTERVAL = 0.05  # seconds
# An ack makes a quorum queue assign the next messages. What it has assigned when a cancel comes is
# never delivered, and counts as a delivery once the channel closes (seen with RabbitMQ 3.10). So
# before a paused consumer is cancelled, it sends no ack for as long.
QUIET_SECONDS = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Deliveries that are handled together; an isolated one is alone in its process.

    ``held_bytes`` is what the connection's flow control counts for it.
    """

    deliveries: list[Delivery]
    held_bytes: int
    is_isolated: bool = False


class ChannelReader:
    """Gives batches, at most ``subscription.parallel`` at a time; ``done`` says one is settled."""

    def __init__(
        self,
        subscription: AnySubscription,
        channel: Channel,
        parser: DeliveryParser,
        isolation_lock: asyncio.Lock,
        stop: asyncio.Event,
        timeout: float,
    ) -> None:
        """Read nothing yet.

        ``parser`` is that of the channel's connection. ``isolation_lock`` is shared by the
        process: while it is held, its holder's message is the only one in hand. ``stop`` ends the
        reading. ``timeout`` bounds each wait for the broker, in seconds.
        """
        self.stop = stop
        self.paused = asyncio.Event()  # set by the owner: takes nothing more, finishes the rest
        self._subscription = subscription
        self._channel = channel
        self._flow = parser.held
        self._lock = isolation_lock
        self._timeout = timeout
        self._source = DeliverySource(channel, parser, subscription.queue, timeout)
        self._acks = Acknowledgements(channel, timeout)
        self._batcher = Batcher(subscription.batch, subscription.wait)
        self._in_progress: set[Batch] = set()
        self._progress = asyncio.Event()
        self._isolated: list[Delivery] = []
        self._isolated_bytes = 0
        self._held = 0  # bytes that flow control counts for this reader
        in_progress, batcher, isolated = self._in_progress, self._batcher, self._isolated
        metrics.MESSAGES_IN_HAND.watch(
            self,
            subscription.queue,
            # From a thread: what is iterated over is a copy.
            lambda: (
                sum(len(batch.deliveries) for batch in tuple(in_progress))
                + len(batcher)
                + len(isolated)
            ),
        )

    async def __aenter__(self) -> Self:
        """Use the channel that was opened for this reader."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the channel: what is not acknowledged returns to the queue."""
        with contextlib.suppress(Outage):
            await with_broker_timeout(self._channel.close(), self._timeout)
        self._source.detach()
        self._release(self._held)

    @property
    def is_lost(self) -> bool:
        """Whether the channel has closed under its reader."""
        return self._channel.is_closed

    @property
    def is_ending(self) -> bool:
        """Whether nothing more is to be taken: the process stops, or the queue is paused."""
        return self.stop.is_set() or self.paused.is_set()

    async def one_by_one(self) -> AsyncGenerator[Batch, None]:
        """Give one message at a time, until one is not to be isolated or the queue is empty."""
        while not self.is_ending:
            async with self._lock:
                if self.is_ending:
                    return
                delivery = await self._source.get()
                if delivery is None:
                    return
                self._hold(delivery)
                isolated = delivery.delivery_count >= ISOLATE_AFTER
                yield self._begin(Batch([delivery], delivery.weight, isolated))
                await self._wait_until_in_progress(0)
                if not isolated:
                    return

    async def __aiter__(self) -> AsyncIterator[Batch]:
        """Give batches until stopped, paused, cut off, or met by a message that is to be isolated.

        Messages to be isolated come last, one by one, each as soon as all else is settled. Raises
        ``ChannelLost``, or ``Outage`` when the broker cancels the consumer.
        """
        watchers = (
            asyncio.create_task(self._close_after(self.stop.wait(), "stopping")),
            asyncio.create_task(self._close_after(self.paused.wait(), "paused")),
            asyncio.create_task(self._close_after(_closing(self._channel), "channel closed")),
        )
        try:
            batches = self._subscription.parallel + 1
            prefetch = min(MAX_PREFETCH, self._subscription.batch * batches)
            await self._source.consume(self._take, self._on_cancel, prefetch=prefetch)
            while self._batcher.closed is None and (batch := await self._next()):
                yield batch
            async for batch in self._drain():
                yield batch
            await self._wait_until_in_progress(0)
            await self._acks.ack_out_of_order()
            async for batch in self._isolate():
                yield batch
        finally:
            for watcher in watchers:
                watcher.cancel()
        if self.is_lost:
            raise ChannelLost("the channel closed")
        if self._batcher.closed == "cancelled":
            raise Outage("the broker cancelled the consumer: is the queue still there?")

    async def ack(self, tags: Iterable[int]) -> None:
        """Acknowledge settled deliveries, as far as that is possible yet.

        Raises ``ChannelLost`` when the channel is closed: the messages will be redelivered.
        """
        await self._acks.ack(tags)

    def done(self, batch: Batch) -> None:
        """Take note that a batch is settled: the next one may come."""
        self._in_progress.discard(batch)
        self._release(batch.held_bytes)
        self._batcher.busy = bool(self._in_progress)
        self._progress.set()

    def _begin(self, batch: Batch) -> Batch:
        self._in_progress.add(batch)
        self._batcher.busy = True
        return batch

    async def _next(self) -> Batch | None:
        """Give the next batch as soon as it may be handled; None when there is none for now."""
        await self._wait_until_in_progress(self._subscription.parallel - 1)
        deliveries = await self._batcher.next_batch()
        if not deliveries:
            return None
        if self.is_lost:
            raise ChannelLost("the channel closed")
        return self._begin(Batch(deliveries, sum(delivery.weight for delivery in deliveries)))

    async def _drain(self) -> AsyncGenerator[Batch, None]:
        """Cancel the consumer, and give what still comes.

        At the same time: while too much is in hand, the broker's answer is not read.
        """
        if self.paused.is_set():
            self._acks.hold()
            await asyncio.sleep(QUIET_SECONDS)
        cancelling = asyncio.create_task(self._source.cancel())
        try:
            while not cancelling.done():
                while batch := await self._next():
                    yield batch
                await asyncio.wait({cancelling}, timeout=DRAIN_INTERVAL)
        finally:
            cancelling.cancel()
        await self._acks.release()
        while batch := await self._next():
            yield batch
        await cancelling

    async def _isolate(self) -> AsyncGenerator[Batch, None]:
        """Give messages to be isolated one by one, the one most often delivered last.

        The order of equals is random, so that none stands behind a poison message each time.
        """
        random.shuffle(self._isolated)
        self._isolated.sort(key=lambda delivery: delivery.delivery_count)
        while self._isolated and not (self.stop.is_set() or self.is_lost):
            delivery = self._isolated.pop(0)
            async with self._lock:
                yield self._begin(Batch([delivery], 0, is_isolated=True))
                await self._wait_until_in_progress(0)
                await self._acks.ack_out_of_order()

    async def _wait_until_in_progress(self, most: int) -> None:
        while len(self._in_progress) > most:
            self._progress.clear()
            await self._progress.wait()

    def _take(self, delivery: Delivery) -> None:
        """Add a delivery to the next batch, or put it aside to be isolated."""
        if delivery.redelivered and delivery.delivery_count >= ISOLATE_AFTER:
            self._isolated_bytes += delivery.weight
            # Beyond the limit it stays with the broker, unacknowledged.
            if not self._isolated or self._isolated_bytes <= MAX_ISOLATED_BYTES:
                self._isolated.append(delivery)
            self._batcher.close("isolating")
        else:
            self._hold(delivery)
            self._batcher.add(delivery)

    def _on_cancel(self) -> None:
        self._batcher.close("cancelled")

    async def _close_after(self, event: Awaitable[object], reason: str) -> None:
        await event
        self._batcher.close(reason)

    def _hold(self, delivery: Delivery) -> None:
        self._held += delivery.weight
        self._flow.add(delivery.weight)

    def _release(self, size: int) -> None:
        self._held -= size
        self._flow.remove(size)


async def _closing(channel: Channel) -> None:
    await asyncio.wait({channel.closing})
