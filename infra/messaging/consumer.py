"""The life of a message.

    deliver -> batch -> decode -> believe -> attempt (claim, handle, outbox, COMMIT)
            -> answers, retries and dead letters, confirmed -> ack up to the watermark

A reading begins *carefully*: one message at a time in the whole process, until one comes
that is new or was delivered fewer than two times. Then the queue is read *widely*, in
batches; a message that came back twice ends that, and is handled alone when the others are
through. So a message that kills its process takes no neighbour along, and after some deaths
(``infra.messaging.isolation`` counts them) it is dead-lettered unread.

When infrastructure is gone or takes no writes the reading pauses: nothing is spent, nothing is
dead-lettered, and before the queue is read again a write has succeeded. When most events fail
in our own code, the queue is stopped (``infra.messaging.queue_breaker``).
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from events.envelope import Event, now
from infra import metrics
from infra.amqp import topology
from infra.amqp.connection import BrokerConnection
from infra.amqp.message import Message
from infra.backoff import Backoff
from infra.errors import Outage, Permanent, Snooze, Unwritable, drop_frames
from infra.messaging.authorization import PublisherAuthorizer
from infra.messaging.dead_letter import without_details
from infra.messaging.delivery import (
    ATTEMPT,
    WAITED,
    DecodedDelivery,
    Delivery,
    decode_delivery,
    to_permanent,
)
from infra.messaging.isolation import MAX_DEATHS, RENEW_AFTER, Isolation
from infra.messaging.pause import PATIENCE, Patience, Pause
from infra.messaging.processor import BatchProcessor, BatchResult, Work
from infra.messaging.queue_breaker import QueueBreaker, QueueStopped, is_unexpected
from infra.messaging.reader import ISOLATE_AFTER, ChannelLost, ChannelReader
from infra.messaging.republish import (
    SERVICE_UNAVAILABLE,
    dead_message,
    reduced,
    reply_message,
    requeue_message,
    retry_message,
)
from infra.messaging.retry_policy import DeadLetterDecision, decide
from infra.messaging.routing_state import read_broken_paths
from infra.messaging.subscription import Subscription
from infra.resources import Resources

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FailedDelivery:
    """A delivery that was not handled, why, and where that came out."""

    delivery: Delivery
    error: BaseException
    stage: str


class Consumer:
    """Reads one queue for one subscription, reading after reading, until it is stopped."""

    def __init__(
        self,
        subscription: Subscription,
        resources: Resources,
        link: BrokerConnection,
        alone: asyncio.Lock,
        *,
        patience: Patience = PATIENCE,
    ) -> None:
        """Read nothing yet.

        ``alone`` is shared by the process: who holds it handles its only message in hand.
        ``patience`` bounds a pause with messages in hand.
        """
        self.queue = subscription.queue
        self.alive = False
        self._subscription = subscription
        self._resources = resources
        self._link = link
        self._alone = alone
        self._attempt = BatchProcessor(subscription, resources)
        self._isolation = Isolation(self.queue, resources.engine)
        self._brake = QueueBreaker(self.queue, resources.engine)
        self._trust = PublisherAuthorizer(self.queue, resources.settings, resources.publishers)
        self._types: dict[str, type[Event]] = {e.event_type(): e for e in subscription.events}
        self._expiring = self.queue in {queue.name for queue in topology.REQUEST_QUEUES}
        # The dead-letter office has nowhere to send what it cannot file: it waits.
        self._last_stop = self.queue in map(topology.dead_queue, topology.WORK_QUEUE_NAMES)
        self._meters = metrics.Meters(self.queue)
        self._pause = Pause(self.queue, resources, self._meters, patience=patience)
        self._stop = asyncio.Event()
        self._backoff = Backoff(first=0.2, longest=patience.step)

    @property
    def trouble(self) -> str | None:
        """Why the queue is not being worked on, or None: what readiness says of it."""
        if self._brake.reason is not None:
            return f"stopped: {self._brake.reason}"
        if self._pause.reason is not None:
            return f"paused: {self._pause.reason}"
        return None if self.alive else "not being read"

    async def run(self, stop: asyncio.Event) -> None:
        """Read until ``stop`` is set; what is in hand then is finished first."""
        self._stop = stop
        while not stop.is_set():
            try:
                await self._brake.hold(stop)
                await self._read()
            except QueueStopped as error:
                await self._brake.engage(str(error))
            except (Outage, ChannelLost) as error:
                self._rest()
                if isinstance(error, Outage):
                    self._pause.begin(str(error))
                details = {"queue": self.queue, "reason": str(error)}
                log.warning("consumer stopped", extra=details)
                await self._backoff.sleep(stop)
            finally:
                self._rest()

    def _rest(self) -> None:
        """Say that nobody reads the queue now."""
        self.alive = False
        self._meters.alive.set(0)

    async def _read(self) -> None:
        # The broker drops a message that is taken and given back too often, so none is
        # taken while it cannot be handled anyway.
        if not await self._pause.probe():
            raise Outage(self._pause.reason)
        await self._isolation.leave_all()
        channel, tap = await self._link.tapped_channel()
        limit = self._resources.settings.broker_timeout
        async with ChannelReader(self._subscription, channel, tap, self._live, limit) as reading:
            self.alive = True
            self._meters.alive.set(1)
            with self._meters.isolating.track_inprogress():
                await reading.carefully(self._alone, self._stop)
            # It is really read: what went wrong before is over.
            self._backoff.reset()
            self._pause.end()
            if not self._stop.is_set():
                await reading.widely(self._alone, self._stop)

    async def _live(self, reading: ChannelReader, batch: Sequence[Delivery]) -> None:
        """Lead a batch through its life; when this returns, all of it is settled."""
        if len(batch) == 1 and batch[0].delivery_count >= ISOLATE_AFTER and not self._last_stop:
            await self._isolate(reading, batch[0])
        else:
            await self._process(reading, batch)

    async def _isolate(self, reading: ChannelReader, delivery: Delivery) -> None:
        """Lead a suspect through its life, with a marker that outlives this process."""
        deaths = await self._patiently(reading, lambda: self._isolation.enter(delivery))
        try:
            if deaths >= MAX_DEATHS:
                error = Permanent("its worker died each time it was handled", code="POISON_MESSAGE")
                await self._settle_failed(reading, [FailedDelivery(delivery, error, "delivery")])
            elif delivery.delivery_count >= RENEW_AFTER and not self._expiring:
                await self._renew(reading, delivery)
            else:
                await self._process(reading, [delivery])
        except BaseException:
            await self._isolation.leave(delivery)
            raise
        await self._isolation.settle(delivery)

    async def _renew(self, reading: ChannelReader, delivery: Delivery) -> None:
        """Publish a message again to its queue: the broker counts its deliveries from 0."""
        message = requeue_message(delivery, self.queue, now())
        counted = {ATTEMPT: delivery.attempts, WAITED: delivery.seconds_waited}
        copies = [message._replace(headers={**message.headers, **counted})]
        await self._patiently(reading, lambda: self._publish(copies))
        await reading.ack([delivery.tag])

    async def _process(self, reading: ChannelReader, batch: Sequence[Delivery]) -> None:
        self._meters.size.observe(len(batch))
        stopping: str | None = None
        with self._meters.seconds.time():
            received, failed = self._decode(batch)
            outcome = BatchResult()
            if received and self._subscription.receive is None:
                received = await self._believe(reading, received, failed)
            if received:
                work = Work([received])
                outcome = await self._patiently(reading, lambda: self._attempt.run(work))
                self._pause.end()
                stopping = self._judge(outcome)
        if self._last_stop and any(outcome.verdicts.values()):
            outcome = await self._file_without_details(reading, outcome)
        for item, error in outcome.verdicts.items():
            if error is not None and not (stopping and is_unexpected(error)):
                stage = getattr(error, "stage", "handler")
                failed.append(FailedDelivery(item.delivery, error, stage))
        self._count(outcome, received)
        await self._answer(outcome)
        unsettled = {item.delivery.tag for item, error in outcome.verdicts.items() if error}
        unsettled |= {failure.delivery.tag for failure in failed}
        await reading.ack(delivery.tag for delivery in batch if delivery.tag not in unsettled)
        await self._settle_failed(reading, failed)
        if stopping:
            raise QueueStopped(stopping)
        if received:
            await self._brake.passed(sum(e is None for e in outcome.verdicts.values()))

    async def _settle_failed(
        self, reading: ChannelReader, failed: Sequence[FailedDelivery]
    ) -> None:
        """Publish the retries and dead letters, then acknowledge the originals."""
        if failed:
            messages = self._messages_of(failed)
            for failure in failed:
                drop_frames(failure.error)
            await self._patiently(reading, lambda: self._publish_failures(messages))
            await reading.ack(failure.delivery.tag for failure in failed)

    def _judge(self, outcome: BatchResult) -> str | None:
        """Tell the brake what became of a batch; gives the reason to stop, or None."""
        if self._expiring or self._last_stop:
            return None
        failures = {item: error for item, error in outcome.verdicts.items() if error is not None}
        handled = len(outcome.verdicts) - len(failures) - len(outcome.duplicates)
        return self._brake.note(handled, failures)

    def _decode(
        self, batch: Sequence[Delivery]
    ) -> tuple[list[DecodedDelivery], list[FailedDelivery]]:
        received: list[DecodedDelivery] = []
        failed: list[FailedDelivery] = []
        for delivery in batch:
            try:
                received.append(self._receive(delivery))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this message's alone
                failed.append(FailedDelivery(delivery, to_permanent(error), "decode"))
        return received, failed

    async def _believe(
        self, reading: ChannelReader, received: list[DecodedDelivery], failed: list[FailedDelivery]
    ) -> list[DecodedDelivery]:
        """Go on with what comes from somebody who may say it; the others have failed."""
        believed, refused = await self._patiently(reading, lambda: self._trust.authorize(received))
        failed += [FailedDelivery(delivery, objection, "trust") for delivery, objection in refused]
        return believed

    async def _file_without_details(
        self, reading: ChannelReader, outcome: BatchResult
    ) -> BatchResult:
        """File dead letters that the database refuses with what cannot be refused alone."""
        plain = [
            without_details(item) if error is not None else item
            for item, error in outcome.verdicts.items()
        ]
        work = Work([plain])
        return await self._patiently(reading, lambda: self._attempt.run(work))

    def _receive(self, delivery: Delivery) -> DecodedDelivery:
        if self._subscription.receive is not None:
            return self._subscription.receive(delivery)
        return decode_delivery(delivery, self._types, self._resources.settings.max_event_bytes)

    def _messages_of(self, failed: Sequence[FailedDelivery]) -> list[Message]:
        """Make the retries and dead letters; the originals are acknowledged after them."""
        if self._expiring:
            self._meters.outcomes["dropped"].inc(len(failed))
            answers = (reply_message(failure.delivery, SERVICE_UNAVAILABLE) for failure in failed)
            return [answer for answer in answers if answer is not None]
        if self._last_stop:
            raise Outage("a dead letter cannot be filed") from failed[0].error
        at = now()
        messages: list[Message] = []
        for failure in failed:
            delivery = failure.delivery
            dice = random.random()  # noqa: S311 - jitter, not a secret
            decision = decide(failure.error, delivery.attempts, delivery.seconds_waited, dice)
            if isinstance(decision, DeadLetterDecision):
                messages.append(dead_message(delivery, decision, failure.stage, at))
                self._meters.outcomes["dead"].inc()
            else:
                messages.append(retry_message(delivery, decision, at))
                self._meters.outcomes["snoozed" if decision.snoozed else "retried"].inc()
            self._report(failure, decision if isinstance(decision, DeadLetterDecision) else None)
        return messages

    async def _publish_failures(self, messages: list[Message]) -> None:
        """Publish retries and dead letters, unless they would reach nobody; raises ``Outage``."""
        if self.queue in await read_broken_paths(self._resources.engine):
            raise Outage("the path of its retries and dead letters is broken")
        await self._publish(messages)

    async def _publish(self, messages: list[Message]) -> None:
        """Publish what is left of ``messages``; raises ``Outage`` while any is left.

        What cannot be written, although it is bounded, goes without what its publisher wrote.
        """
        errors = await self._resources.publisher.publish_all(messages)
        left = [(m, error) for m, error in zip(messages, errors, strict=True) if error]
        messages[:] = [
            reduced(message) if isinstance(error, Unwritable) else message
            for message, error in left
        ]
        if left:
            raise Outage(str(left[0][1])) from left[0][1]

    async def _answer(self, outcome: BatchResult) -> None:
        answers = (reply_message(item.delivery, answer) for item, answer in outcome.replies)
        wanted = [message for message in answers if message is not None]
        if wanted:
            await self._resources.publisher.publish_all(wanted)

    async def _patiently(self, reading: ChannelReader, step: Callable[[], Awaitable[T]]) -> T:
        """Do a step that needs infrastructure, through pauses if need be."""
        return await self._pause.through(step, self._stop, lambda: reading.gone)

    def _count(self, outcome: BatchResult, received: Sequence[DecodedDelivery]) -> None:
        duplicates = len(outcome.duplicates)
        done = sum(error is None for error in outcome.verdicts.values())
        self._meters.outcomes["handled"].inc(done - duplicates)
        self._meters.outcomes["duplicate"].inc(duplicates)
        if received:
            oldest = min(item.event.time for item in received)
            self._meters.age.observe(max(0.0, (now() - oldest).total_seconds()))

    def _report(self, failure: FailedDelivery, dead: DeadLetterDecision | None) -> None:
        properties = failure.delivery.properties
        details = {
            "queue": self.queue,
            "event_id": failure.delivery.message_id,
            "event_type": failure.delivery.routing_key[:200],
            "correlation_id": properties.correlation_id,
            "attempt": failure.delivery.attempts + (not isinstance(failure.error, Snooze)),
            "stage": failure.stage,
            "reason": dead.reason if dead else str(getattr(failure.error, "reason", "")),
        }
        if dead:
            log.error("dead-lettered", extra=details, exc_info=failure.error)
        else:
            log.warning("message will be retried", extra=details, exc_info=failure.error)
