"""Settles a batch: turns its result into acks, retries, dead letters and replies.

Retries and dead letters are published with confirms before their originals are acknowledged, so
a message is lost at no point; what is published twice is dropped by the inbox.
"""

import logging
import random
from collections.abc import Sequence

from events.envelope import now
from infra.amqp import topology
from infra.amqp.message import Message
from infra.errors import Outage, Snooze, Unwritable, drop_frames
from infra.messaging.authorization import internal_users
from infra.messaging.batch_result import BatchResult, FailedDelivery
from infra.messaging.delivery import Delivery
from infra.messaging.event_latency import accepted_at
from infra.messaging.headers import ATTEMPT, WAITED
from infra.messaging.outage_wait import OutageWait
from infra.messaging.reader import Batch, ChannelReader
from infra.messaging.republish import (
    SERVICE_UNAVAILABLE,
    dead_message,
    reply_message,
    requeue_message,
    retry_message,
    without_publisher_headers,
)
from infra.messaging.retry_policy import DeadLetterDecision, RetryDecision, decide
from infra.messaging.routing_state import read_broken_paths
from infra.messaging.waiting_recorder import WaitingRecorder
from infra.metrics import Meters, code_of
from infra.resources import Resources

log = logging.getLogger(__name__)


class Settler:
    """Settles the batches of one queue."""

    def __init__(self, queue: str, resources: Resources, wait: OutageWait, meters: Meters) -> None:
        """``wait`` is that of the queue's consumer: publishing waits while the broker is gone."""
        self._queue = queue
        self._resources = resources
        self._wait = wait
        self._outcomes = meters.outcomes
        self._internal_users = internal_users(resources.settings)
        self._retries, self._dead_letters = meters.retries, meters.dead_letters
        self._waiting = WaitingRecorder(queue, resources.engine, resources.background)
        self._is_request_queue = queue in {asked.name for asked in topology.REQUEST_QUEUES}

    async def settle(self, reader: ChannelReader, batch: Batch, result: BatchResult) -> None:
        """Send the replies, acknowledge what is done, then publish and acknowledge failures.

        Raises ``Outage`` or ``ChannelLost``; what is not acknowledged will be redelivered.
        """
        self._outcomes["handled"].inc(len(result.handled) - result.skipped)
        if result.skipped:
            self._outcomes["skipped"].inc(result.skipped)
        self._outcomes["duplicate"].inc(len(result.duplicates))
        if result.replies:
            await self._reply(result)
        if len(result.handled) + len(result.duplicates) == len(batch.deliveries):
            await reader.ack(delivery.tag for delivery in batch.deliveries)
            return
        await reader.ack(item.delivery.tag for item in (*result.handled, *result.duplicates))
        await self.fail(reader, result.failed)

    async def fail(self, reader: ChannelReader, failed: Sequence[FailedDelivery]) -> None:
        """Publish the retries and dead letters, then acknowledge the originals."""
        if not failed:
            return
        retries: list[tuple[FailedDelivery, RetryDecision]] = []
        messages = self._build_messages(failed, retries)
        self._waiting.record(retries)
        for failure in failed:
            drop_frames(failure.error)
        await self._wait.retry(lambda: self._publish_failures(messages), reader)
        await reader.ack(failure.delivery.tag for failure in failed)

    async def close(self) -> None:
        """End what runs in the background."""
        await self._waiting.close()

    async def requeue(self, reader: ChannelReader, deliveries: Sequence[Delivery]) -> None:
        """Publish messages again to their own queue: the broker counts their deliveries from 0."""
        messages = [self._build_requeue(delivery) for delivery in deliveries]
        await self._wait.retry(lambda: self._publish(messages), reader)
        await reader.ack(delivery.tag for delivery in deliveries)

    def _build_requeue(self, delivery: Delivery) -> Message:
        accepted = accepted_at(delivery, self._internal_users)
        message = requeue_message(delivery, self._queue, now(), accepted)
        counted = {ATTEMPT: delivery.attempts, WAITED: delivery.seconds_waited}
        return message._replace(headers={**message.headers, **counted})

    def _build_messages(
        self,
        failed: Sequence[FailedDelivery],
        retries: list[tuple[FailedDelivery, RetryDecision]],
    ) -> list[Message]:
        """Build what failures are published as; adds those that are retried to ``retries``."""
        if self._is_request_queue:
            self._outcomes["dropped"].inc(len(failed))
            replies = (reply_message(failure.delivery, SERVICE_UNAVAILABLE) for failure in failed)
            return [reply for reply in replies if reply is not None]
        return [self._build_message(failure, retries) for failure in failed]

    def _build_message(
        self, failure: FailedDelivery, retries: list[tuple[FailedDelivery, RetryDecision]]
    ) -> Message:
        """Build the retry or the dead letter of a failed delivery, and log it."""
        delivery = failure.delivery
        jitter = random.random()  # noqa: S311 - not a secret
        decision = decide(failure.error, delivery.attempts, delivery.seconds_waited, jitter)
        if isinstance(decision, DeadLetterDecision):
            self._outcomes["dead"].inc()
            self._dead_letters[code_of(failure.error)].inc()
            self._log(failure, decision)
            return dead_message(delivery, decision, failure.stage, now())
        self._outcomes["snoozed" if decision.snoozed else "retried"].inc()
        self._retries[code_of(failure.error)].inc()
        self._log(failure, None)
        retries.append((failure, decision))
        return retry_message(delivery, decision, now(), accepted_at(delivery, self._internal_users))

    async def _publish_failures(self, messages: list[Message]) -> None:
        """Publish retries and dead letters, unless they would reach nobody; raises ``Outage``."""
        if self._queue in await read_broken_paths(self._resources.engine):
            raise Outage("the path of its retries and dead letters is broken")
        await self._publish(messages)

    async def _publish(self, messages: list[Message]) -> None:
        """Publish what is left of ``messages``; raises ``Outage`` while any is left.

        What cannot be written, although it is bounded, goes without its publisher's headers.
        """
        errors = await self._resources.publisher.publish_all(messages)
        left = [(m, error) for m, error in zip(messages, errors, strict=True) if error]
        messages[:] = [
            without_publisher_headers(message) if isinstance(error, Unwritable) else message
            for message, error in left
        ]
        if left:
            raise Outage(str(left[0][1])) from left[0][1]

    async def _reply(self, result: BatchResult) -> None:
        """Send replies once: a caller that has gone does not wait for one."""
        replies = (reply_message(delivery, answer) for delivery, answer in result.replies)
        messages = [message for message in replies if message is not None]
        if messages:
            await self._resources.publisher.publish_all(messages)

    def _log(self, failure: FailedDelivery, dead: DeadLetterDecision | None) -> None:
        delivery = failure.delivery
        details = {
            "queue": self._queue,
            "event_id": delivery.message_id,
            "event_type": delivery.routing_key[:200],
            "correlation_id": delivery.properties.correlation_id,
            "attempt": delivery.attempts + (not isinstance(failure.error, Snooze)),
            "stage": failure.stage,
            "reason": dead.reason if dead else str(getattr(failure.error, "reason", "")),
        }
        if dead:
            log.error("dead-lettered", extra=details, exc_info=failure.error)
        else:
            log.warning("message will be retried", extra=details, exc_info=failure.error)
