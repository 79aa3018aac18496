"""Connects the life of a message: reader -> processor -> settler, channel after channel.

    reader     batches of deliveries from one channel (``infra.messaging.reader``)
    processor  decode, authorize, claim, handle, commit; results as data (``processor``)
    settler    acks, retries, dead letters and replies (``settler``)

A channel is first read one message at a time in the whole process, until a message comes that was
delivered fewer than ``ISOLATE_AFTER`` times before; then in batches. So a message that kills its
process takes no other message along, and after some deaths (``infra.messaging.isolation`` counts
them) it is dead-lettered unread.

When infrastructure is unavailable or takes no writes the consumer waits: no attempt is counted,
nothing is dead-lettered, and before the queue is read again a write has succeeded. When most
events fail in our own code, the queue is stopped (``infra.messaging.queue_breaker``).

When a person pauses the queue (``infra.messaging.queue_pause``), what was delivered is handled to
its end, so nothing returns to the queue and no delivery is counted. Of a platform's queue only
the batches in progress are: the rest is published again, to the same queue, with a new count.
"""

import asyncio
import logging
from contextlib import aclosing

from infra import metrics
from infra.amqp import topology
from infra.amqp.connection import BrokerConnection
from infra.backoff import Backoff
from infra.errors import Outage, Permanent
from infra.messaging.acknowledgements import ChannelLost
from infra.messaging.authorization import internal_users
from infra.messaging.batch_result import BatchResult, FailedDelivery, Work
from infra.messaging.batch_trace import BatchTrace
from infra.messaging.event_latency import EventLatency
from infra.messaging.isolation import MAX_DEATHS, REQUEUE_AFTER, Isolation
from infra.messaging.outage_wait import OutageWait, WaitLimits
from infra.messaging.processor import BatchProcessor
from infra.messaging.queue_breaker import QueueBreaker, QueueStopped, is_unexpected
from infra.messaging.queue_pause import QueuePause
from infra.messaging.reader import Batch, ChannelReader
from infra.messaging.settler import Settler
from infra.messaging.subscription import AnySubscription
from infra.resources import Resources
from infra.storage.pause_registry import PLATFORM_QUEUES

DEAD_LETTER_QUEUES = frozenset(map(topology.dead_queue, topology.WORK_QUEUE_NAMES))
REQUEST_QUEUES = frozenset(queue.name for queue in topology.REQUEST_QUEUES)

log = logging.getLogger(__name__)


class Consumer:
    """Reads one queue for one subscription until it is stopped."""

    def __init__(
        self,
        subscription: AnySubscription,
        resources: Resources,
        connection: BrokerConnection,
        isolation_lock: asyncio.Lock,
        *,
        limits: WaitLimits | None = None,
    ) -> None:
        """Read nothing yet.

        ``isolation_lock`` is shared by the process: who holds it handles its only message in
        hand. ``limits`` bounds a wait for an outage with messages in hand.
        """
        self.queue = queue = subscription.queue
        self.alive = False
        self._subscription = subscription
        self._resources = resources
        self._connection = connection
        self._isolation_lock = isolation_lock
        self._meters = metrics.Meters(queue)
        self._wait = OutageWait(queue, resources, self._meters, limits=limits)
        latency = EventLatency(self._meters, internal_users(resources.settings))
        self._processor = BatchProcessor(subscription, resources, on_commit=latency.observe)
        self._settler = Settler(queue, resources, self._wait, self._meters)
        self._isolation = Isolation(queue, resources.engine)
        self._breaker = QueueBreaker(queue, resources.engine)
        self._queue_pause = QueuePause(queue, resources.pauses, self._breaker)
        self._is_platform_queue = queue in PLATFORM_QUEUES
        self._is_request_queue = queue in REQUEST_QUEUES
        # A dead letter that cannot be filed has nowhere to go: it waits.
        self._is_dead_letter_queue = queue in DEAD_LETTER_QUEUES
        self._backoff = Backoff(first=0.2, longest=(limits or WaitLimits()).between_probes)

    @property
    def trouble(self) -> str | None:
        """Why the queue is not being worked on, or None; readiness reports it."""
        if self._queue_pause.trouble is not None:
            return self._queue_pause.trouble
        if self.note is not None:
            return None
        if self._wait.reason is not None:
            return f"waiting: {self._wait.reason}"
        return None if self.alive else "not being read"

    @property
    def note(self) -> str | None:
        """Why and by whom the queue is paused on purpose, or None; readiness reports it.

        It begins with ``pausing:`` until what was delivered is settled, then with ``paused:``.
        """
        cause = self._queue_pause.cause
        if cause is None:
            return None
        return f"pausing: {cause}" if self.alive else f"paused: {cause}"

    async def run(self, stop: asyncio.Event) -> None:
        """Read until ``stop`` is set; what is in hand then is finished first."""
        try:
            while not stop.is_set():
                await self._read_until_trouble(stop)
        finally:
            await self._settler.close()

    async def _read_until_trouble(self, stop: asyncio.Event) -> None:
        try:
            await self._queue_pause.hold(stop)
            await self._read(stop)
        except QueueStopped as error:
            self._breaker.engage(str(error))
        except (Outage, ChannelLost) as error:
            self._mark_idle()
            if isinstance(error, Outage):
                self._wait.begin(str(error))
            details = {"queue": self.queue, "reason": str(error)}
            log.warning("consumer stopped", extra=details)
            await self._backoff.sleep(stop)
        finally:
            self._mark_idle()

    async def _read(self, stop: asyncio.Event) -> None:
        # The broker drops a message that is taken and returned too often, so none is taken
        # while it cannot be handled anyway.
        if not await self._wait.probe():
            raise Outage(self._wait.reason)
        await self._isolation.leave_all()
        channel, parser = await self._connection.open_consumer_channel()
        timeout = self._resources.settings.broker_timeout
        async with ChannelReader(
            self._subscription, channel, parser, self._isolation_lock, stop, timeout
        ) as reader:
            watching = self._resources.background.start(
                self._watch_pause(reader), f"pause of {self.queue}"
            )
            try:
                await self._read_channel(reader)
            finally:
                watching.cancel()

    async def _watch_pause(self, reader: ChannelReader) -> None:
        await self._queue_pause.wait_for_pause()
        log.warning("a queue is being paused", extra={"queue": self.queue, "reason": self.note})
        reader.paused.set()

    async def _read_channel(self, reader: ChannelReader) -> None:
        self.alive = True
        self._meters.alive.set(1)
        with self._meters.isolating.track_inprogress():
            async with aclosing(reader.one_by_one()) as batches:
                async for batch in batches:
                    await self._handle(reader, batch)
        # The queue is really read: what went wrong before is over.
        self._backoff.reset()
        self._wait.end()
        if not reader.is_ending:
            await self._read_batches(reader)

    async def _read_batches(self, reader: ChannelReader) -> None:
        """Handle batches side by side; the first failure ends all of them and is raised."""
        try:
            async with asyncio.TaskGroup() as tasks:
                async for batch in reader:
                    tasks.create_task(self._handle(reader, batch))
        except BaseExceptionGroup as group:
            stopped, _ = group.split(QueueStopped)
            raise (stopped or group).exceptions[0] from None

    async def _handle(self, reader: ChannelReader, batch: Batch) -> None:
        """Process and settle a batch, or return it to a queue whose platform is paused."""
        if reader.paused.is_set() and self._is_platform_queue:
            await self._settler.requeue(reader, batch.deliveries)
        elif batch.is_isolated and not self._is_dead_letter_queue:
            await self._handle_isolated(reader, batch)
        else:
            await self._process(reader, batch)
        reader.done(batch)

    async def _handle_isolated(self, reader: ChannelReader, batch: Batch) -> None:
        """Handle one message, with a marker that outlives this process."""
        (delivery,) = batch.deliveries
        deaths = await self._wait.retry(lambda: self._isolation.enter(delivery), reader)
        try:
            if deaths >= MAX_DEATHS:
                reason = "its worker died each time it was handled"
                error = Permanent(reason, code="POISON_MESSAGE")
                await self._settler.fail(reader, [FailedDelivery(delivery, error, "delivery")])
            elif delivery.delivery_count >= REQUEUE_AFTER and not self._is_request_queue:
                await self._settler.requeue(reader, [delivery])
            else:
                await self._process(reader, batch)
        except BaseException:
            await self._isolation.leave(delivery)
            raise
        await self._isolation.settle(delivery)

    async def _process(self, reader: ChannelReader, batch: Batch) -> None:
        """Process and settle a batch, with spans where traces are on."""
        tracer = self._resources.tracer
        if tracer is None:
            await self._process_batch(reader, batch, None)
        else:
            with BatchTrace(tracer, self.queue) as trace:
                await self._process_batch(reader, batch, trace)

    async def _process_batch(
        self, reader: ChannelReader, batch: Batch, trace: BatchTrace | None
    ) -> None:
        self._meters.size.observe(len(batch.deliveries))
        with self._meters.timing_batch():
            work = self._processor.decode(batch.deliveries)
            if trace is not None:
                trace.start(work)
            result = await self._wait.retry(lambda: self._processor.run(work), reader)
        if result.handled or result.duplicates or any(f.decoded for f in result.failed):
            self._wait.end()
        if self._is_dead_letter_queue and result.failed:
            result = await self._file_reduced(reader, result)
        if trace is not None:
            trace.note(result)
        stop_reason = self._note(result)
        await self._settler.settle(reader, batch, result)
        if stop_reason:
            raise QueueStopped(stop_reason)
        await self._breaker.passed(len(result.handled))

    def _note(self, result: BatchResult) -> str | None:
        """Tell the breaker the result; gives the reason to stop the queue, or None.

        When the queue stops, events that failed in our own code are not settled: they return to
        the queue.
        """
        if self._is_request_queue or self._is_dead_letter_queue:
            return None
        reason = self._breaker.note(len(result.handled), result.failed)
        if reason:
            result.failed[:] = [
                failure
                for failure in result.failed
                if failure.decoded is None or not is_unexpected(failure.error)
            ]
        return reason

    async def _file_reduced(self, reader: ChannelReader, result: BatchResult) -> BatchResult:
        """File dead letters that the database refuses with what it cannot refuse.

        Raises ``Outage`` when one still cannot be filed.
        """
        reducer = self._subscription.reducer
        decoded = [f.decoded for f in result.failed if reducer and f.decoded]
        if reducer and len(decoded) == len(result.failed):
            work = Work([[reducer(item) for item in decoded]])
            result.failed.clear()
            result.add(await self._wait.retry(lambda: self._processor.run(work), reader))
        if result.failed:
            raise Outage("a dead letter cannot be filed") from result.failed[0].error
        return result

    def _mark_idle(self) -> None:
        self.alive = False
        self._meters.alive.set(0)
