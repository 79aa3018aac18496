"""One channel that reads one queue, from its opening to its end: taking and acknowledging.

    carefully: basic.get, one message at a time in the whole process
    widely:    basic.consume with a prefetch, whatever has arrived makes a batch

A suspect that is met while reading widely stays in hand until all else is settled, and is
then handled alone. Giving it back instead would hand it to the next process that reads
widely, and so on, until its count of deliveries made a killer of it. (More suspects than fit into
``MAX_SUSPECT_BYTES`` are given back after all, when the channel closes.)

Both ways take messages off the tap: the client library never decodes one. Callbacks only
enqueue; one watermark decides every ack of the channel. What is in hand is counted in bytes
(``infra.amqp.flow_control``), suspects apart: they stay longest, and must not stop the rest.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Self
from uuid import uuid4

from aiormq.channel import Channel

from infra.amqp.connection import with_broker_timeout
from infra.amqp.delivery_parser import DeliveryParser
from infra.amqp.intercepting_reader import never_called
from infra.errors import Outage
from infra.messaging.ack_tracker import AckTracker
from infra.messaging.batcher import Batcher
from infra.messaging.delivery import Delivery, delivery_callback
from infra.messaging.subscription import Subscription

ISOLATE_AFTER = 2  # deliveries before this one, from which on a message is handled alone
MAX_PREFETCH = 2000  # quorum queues allow no more
MAX_SUSPECT_BYTES = 16 * 1024 * 1024
DRAIN_INTERVAL = 0.05  # seconds

Live = Callable[["ChannelReader", list[Delivery]], Coroutine[None, None, None]]


class ChannelLost(Exception):
    """The channel is gone, so the broker has its messages again; this reading is over."""


class ChannelReader:
    """Takes messages and hands them to ``live``, which settles each of them."""

    def __init__(
        self,
        subscription: Subscription,
        channel: Channel,
        tap: DeliveryParser,
        live: Live,
        limit: float,
    ) -> None:
        """``tap`` is the connection's; ``limit`` bounds each wait for the broker, in seconds."""
        self._subscription = subscription
        self._channel = channel
        self._tap = tap
        self._live = live
        self._limit = limit
        self._watermark = AckTracker()
        self._under_way: set[asyncio.Task[None]] = set()
        self._suspects: list[Delivery] = []
        self._suspect_bytes = 0
        self._held = 0  # bytes that this reading has in hand
        self._got: list[Delivery] = []
        self._consumers: list[str] = []

    async def __aenter__(self) -> Self:
        """Use the channel that was opened for this reading."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the channel: what is not acknowledged goes back to the queue."""
        with contextlib.suppress(Outage):
            await with_broker_timeout(self._channel.close(), self._limit)
        for tag in self._consumers:
            self._tap.remove(tag)
        self._tap.remove_getter(self._channel.number)
        self._tap.held.remove(self._held)

    @property
    def gone(self) -> bool:
        """Whether the channel has closed under us."""
        return self._channel.is_closed

    async def carefully(self, alone: asyncio.Lock, stop: asyncio.Event) -> None:
        """Take one message at a time, until one is no suspect or the queue is empty.

        ``alone`` is the process's: while it is held, its holder's is the only message in
        hand, so no neighbour suffers if that message kills the process.
        """
        got = delivery_callback(self._subscription.queue, self._take_got)
        self._tap.add_getter(self._channel.number, got)
        while not stop.is_set():
            async with alone:
                delivery = await self._get()
                if delivery is None:
                    return
                await self._live_and_let_go([delivery])
                if delivery.delivery_count < ISOLATE_AFTER:
                    return

    async def _get(self) -> Delivery | None:
        """Take the queue's next message, past the library; None when there is none."""
        self._got.clear()
        await with_broker_timeout(self._channel.basic_get(self._subscription.queue), self._limit)
        return self._got.pop() if self._got else None

    def _take_got(self, delivery: Delivery) -> None:
        self._hold(delivery)
        self._got.append(delivery)

    async def widely(self, alone: asyncio.Lock, stop: asyncio.Event) -> None:
        """Read in batches until stopped, cut off, or met by a message that came back twice.

        Everything taken is settled when this returns, but suspects that a stop has left.
        Raises ``ChannelLost`` or ``Outage``.
        """
        intake = Batcher(self._subscription.batch, self._subscription.wait)
        watchers = {
            asyncio.create_task(_close_when(stop.wait(), intake, "stopping")),
            asyncio.create_task(_close_when(_ended(self._channel), intake, "channel closed")),
        }
        try:
            prefetch = self._subscription.batch * (self._subscription.parallel + 1)
            tag = await self._consume(intake, min(MAX_PREFETCH, prefetch))
            await self._handle_all(intake)
            await self._handle_rest(intake, tag)
            await self._finish(asyncio.ALL_COMPLETED)
            await self._ack_scattered()
            await self._handle_suspects(alone, stop)
        finally:
            for task in (*watchers, *self._under_way):
                task.cancel()
            await asyncio.wait({*watchers, *self._under_way})
        self._check(intake)

    async def ack(self, tags: Iterable[int]) -> None:
        """Note that deliveries are settled, and tell the broker as far as it can be told.

        Raises ``ChannelLost`` when the channel is gone: they will come again.
        """
        low = self._watermark.settle(tags)
        if low is not None:
            await self._send_ack(low, multiple=True)

    def _check(self, intake: Batcher) -> None:
        """Raise ``ChannelLost`` or ``Outage`` when it was the broker that ended the reading."""
        if self.gone:
            raise ChannelLost("the channel closed")
        if intake.closed == "cancelled":
            raise Outage("the broker cancelled the consumer: is the queue still there?")

    async def _handle_all(self, intake: Batcher) -> None:
        while batch := await intake.next(self._busy):
            if self.gone:
                raise ChannelLost("the channel closed")
            task = asyncio.create_task(self._live_and_let_go(batch))
            task.add_done_callback(lambda done: _note_failure(done, intake))
            self._under_way.add(task)
            if len(self._under_way) >= self._subscription.parallel:
                await self._finish(asyncio.FIRST_COMPLETED)

    async def _live_and_let_go(self, batch: list[Delivery]) -> None:
        try:
            await self._live(self, batch)
        finally:
            self._let_go(sum(delivery.weight for delivery in batch))

    async def _handle_rest(self, intake: Batcher, tag: str) -> None:
        """Cancel the consumer and handle what still comes.

        At the same time: while too much is in hand, the broker's answer is not read.
        """
        cancelling = asyncio.create_task(self._cancel(tag))
        try:
            while not cancelling.done():
                await self._handle_all(intake)
                await asyncio.wait({cancelling}, timeout=DRAIN_INTERVAL)
        finally:
            cancelling.cancel()
        await self._handle_all(intake)
        await cancelling

    def _hold(self, delivery: Delivery) -> None:
        self._held += delivery.weight
        self._tap.held.add(delivery.weight)

    def _let_go(self, size: int) -> None:
        self._held -= size
        self._tap.held.remove(size)

    async def _handle_suspects(self, alone: asyncio.Lock, stop: asyncio.Event) -> None:
        """Handle what came back twice, one by one, the likeliest killer last.

        Chance decides between equals, so that none stands behind a killer each time.
        """
        random.shuffle(self._suspects)
        self._suspects.sort(key=lambda delivery: delivery.delivery_count)
        for delivery in self._suspects:
            if stop.is_set() or self.gone:
                return
            async with alone:
                await self._live(self, [delivery])
                await self._ack_scattered()

    def _busy(self) -> bool:
        return any(not task.done() for task in self._under_way)

    async def _finish(self, when: str) -> None:
        """Wait for batches under way; raises what one of them raised."""
        if not self._under_way:
            return
        done, self._under_way = await asyncio.wait(self._under_way, return_when=when)
        for task in done:
            task.result()

    async def _consume(self, intake: Batcher, prefetch: int) -> str:
        """Start a consumer that puts suspects aside."""
        queue = self._subscription.queue

        def take(delivery: Delivery) -> None:
            if delivery.redelivered and delivery.delivery_count >= ISOLATE_AFTER:
                self._put_aside(delivery)
                intake.close("suspect")
            else:
                self._hold(delivery)
                intake.put(delivery)

        async def on_cancel(_: object) -> None:
            intake.close("cancelled")

        self._channel.on_consumer_cancel_callbacks.add(on_cancel)
        await with_broker_timeout(self._channel.basic_qos(prefetch_count=prefetch), self._limit)
        # A fresh tag each time: 3.10 dies of one that is used again too soon.
        consumer = f"{queue}.{uuid4().hex}"
        self._consumers.append(consumer)
        self._tap.add(consumer, delivery_callback(queue, take))
        consuming = self._channel.basic_consume(queue, never_called, consumer_tag=consumer)
        await with_broker_timeout(consuming, self._limit)
        return consumer

    def _put_aside(self, suspect: Delivery) -> None:
        """Keep a suspect for later; what is too much is left to the broker, unacknowledged."""
        self._suspect_bytes += suspect.weight
        if not self._suspects or self._suspect_bytes <= MAX_SUSPECT_BYTES:
            self._suspects.append(suspect)

    async def _cancel(self, tag: str) -> None:
        if tag in self._channel.consumers and not self.gone:
            await with_broker_timeout(self._channel.basic_cancel(tag), self._limit)

    async def _ack_scattered(self) -> None:
        """Acknowledge one by one what is settled above a delivery that we leave untouched."""
        for tag in self._watermark.out_of_order():
            await self._send_ack(tag, multiple=False)

    async def _send_ack(self, tag: int, *, multiple: bool) -> None:
        acking = self._channel.basic_ack(tag, multiple=multiple, wait=False)
        try:
            await with_broker_timeout(acking, self._limit)
        except Outage as error:
            raise ChannelLost("acks cannot be sent; the inbox knows what was done") from error


def _note_failure(task: asyncio.Task[None], intake: Batcher) -> None:
    if not task.cancelled() and task.exception() is not None:
        intake.close("failed")


async def _close_when(happens: Awaitable[object], intake: Batcher, reason: str) -> None:
    await happens
    intake.close(reason)


async def _ended(channel: Channel) -> None:
    await asyncio.wait({channel.closing})
