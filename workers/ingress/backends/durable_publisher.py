"""Makes messages durable: publishes them, else writes them to the outbox, else rejects with 503.

    publish: confirmed and routed within CONFIRM_DEADLINE
      else   outbox row: committed in Postgres
      else   503: the client tries again

A message whose confirm did not arrive may have been published; its outbox row carries the same
id, so it takes effect once. After an unconfirmed publish the broker is suspect: one message per
``BROKER_RETRY_INTERVAL`` tries it, and the others go to the outbox without the wait.

A command about a campaign that has commands in the outbox follows them there, so that a resume
never overtakes a pause; when nothing can tell whether it has, the command is rejected. A message
whose path is broken goes to the outbox too, because it would reach no queue.
"""

import logging
from collections import Counter
from collections.abc import Sequence

from infra import metrics
from infra.amqp.message import Message
from infra.amqp.publisher import Publisher
from infra.backoff import Cooldown
from infra.errors import Outage, PublishFailed, PublishUnknown, Unroutable
from infra.messaging.ordering_key import ordering_key
from infra.web.errors import HttpError, unavailable
from workers.ingress.backends.broken_paths import BrokenPaths
from workers.ingress.backends.command_order import CommandOrder
from workers.ingress.backends.outbox_writer import OutboxWriter

BROKER_RETRY_INTERVAL = 1.0  # seconds between attempts while the broker is suspect

log = logging.getLogger(__name__)


class DurablePublisher:
    """Publishes messages or writes them to the outbox; rejects them when both fail."""

    def __init__(
        self,
        publisher: Publisher,
        outbox_writer: OutboxWriter,
        command_order: CommandOrder,
        broken_paths: BrokenPaths,
        deadline: float,
    ) -> None:
        """Wait up to ``deadline`` seconds for the broker's confirm."""
        self._publisher = publisher
        self._outbox_writer = outbox_writer
        self._command_order = command_order
        self._broken_paths = broken_paths
        self._deadline = deadline
        self._broker_cooldown = Cooldown(BROKER_RETRY_INTERVAL)

    async def publish(self, message: Message) -> None:
        """Make a message durable; raises 503 when neither broker nor outbox accepts it."""
        if not self._broker_cooldown.allows_attempt() and await self._write_to_outbox([message]):
            return
        key = ordering_key(message)
        if self._broken_paths.affects(message) or (key is not None and await self._is_queued(key)):
            if not await self._write_to_outbox([message]):
                raise _not_stored()
            return
        try:
            await self._publisher.publish(message, timeout=self._deadline)
        except PublishFailed as error:
            self._record_failure(error)
            if isinstance(error, Unroutable) or not await self._write_to_outbox([message]):
                raise _not_stored() from None
        else:
            self._broker_cooldown.end()
            metrics.ACCEPTED["confirmed"].inc()

    async def publish_all(self, messages: Sequence[Message]) -> list[bool]:
        """Make messages durable; returns for each, in their order, whether it is.

        Commands about one campaign are published one after the other, each after the confirm of
        the one before it. When one is not durable, those after it are not published either.
        """
        if not self._broker_cooldown.allows_attempt() and await self._write_to_outbox(messages):
            return [True] * len(messages)
        keys = [ordering_key(message) for message in messages]
        durable: set[int] = set()
        rejected: set[str | None] = set()
        try:
            queued = await self._command_order.find_queued({key for key in keys if key is not None})
        except Outage as error:
            log.warning("commands are rejected", extra={"reason": str(error)})
            queued, rejected = set(), {key for key in keys if key is not None}
        for positions in group_into_rounds(keys):
            left = [index for index in positions if keys[index] not in rejected]
            durable |= await self._publish_round(messages, keys, left, queued)
            rejected |= {keys[index] for index in left if index not in durable} - {None}
        metrics.ACCEPTED["unavailable"].inc(len(messages) - len(durable))
        return [index in durable for index in range(len(messages))]

    async def _publish_round(
        self,
        messages: Sequence[Message],
        keys: Sequence[str | None],
        positions: Sequence[int],
        queued: set[str],
    ) -> set[int]:
        """Publish the messages at these positions, or write them to the outbox.

        Returns the positions of the durable ones. ``queued`` holds the ordering keys with rows
        in the outbox and is extended by the keys that are written here.
        """
        direct = [
            index
            for index in positions
            if keys[index] not in queued and not self._broken_paths.affects(messages[index])
        ]
        results = await self._publish_confirmed([messages[index] for index in direct])
        errors = dict(zip(direct, results, strict=True))
        deferred = [i for i in positions if i not in errors or may_publish_later(errors[i])]
        written = not deferred or await self._write_to_outbox([messages[i] for i in deferred])
        queued |= {key for index in deferred if (key := keys[index]) is not None}
        confirmed = {index for index, error in errors.items() if error is None}
        return confirmed | set(deferred) if written else confirmed

    async def _publish_confirmed(self, messages: Sequence[Message]) -> list[PublishFailed | None]:
        if not messages:
            return []
        results = await self._publisher.publish_all(messages, timeout=self._deadline)
        if None in results:
            self._broker_cooldown.end()
        for error in filter(None, results):
            self._record_failure(error)
        metrics.ACCEPTED["confirmed"].inc(results.count(None))
        return results

    async def _is_queued(self, key: str) -> bool:
        try:
            return bool(await self._command_order.find_queued([key]))
        except Outage as error:
            log.warning("a command is rejected", extra={"reason": str(error)})
            raise _not_stored() from None

    def _record_failure(self, error: PublishFailed) -> None:
        if isinstance(error, PublishUnknown):
            self._broker_cooldown.start()
        elif isinstance(error, Unroutable):  # an error of the deployment: reported, not stored
            log.error("the topology is incomplete", extra={"reason": str(error)})

    async def _write_to_outbox(self, messages: Sequence[Message]) -> bool:
        written = await self._outbox_writer.write(messages)
        if written:
            metrics.ACCEPTED["outbox"].inc(len(messages))
        return written


def may_publish_later(error: PublishFailed | None) -> bool:
    """Whether an unconfirmed message may be published later, from the outbox."""
    return error is not None and not isinstance(error, Unroutable)


def group_into_rounds(keys: Sequence[str | None]) -> list[list[int]]:
    """Group the positions of a batch into rounds, with one message of an ordering key in each."""
    seen: Counter[str] = Counter()
    rounds: list[list[int]] = []
    for index, key in enumerate(keys):
        number = 0
        if key is not None:
            number = seen[key]
            seen[key] += 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(index)
    return rounds


def _not_stored() -> HttpError:
    metrics.ACCEPTED["unavailable"].inc()
    return unavailable("The message could not be stored.")
