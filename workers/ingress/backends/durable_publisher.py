"""Taking responsibility for messages: the broker, else the outbox in Postgres, else nobody.

    publish, confirmed and routed, within CONFIRM_DEADLINE ── else ──> outbox row, committed
                                                              ── else ──> 503, try again

A message whose confirm did not come may be on the bus already; its outbox row carries the
same id, so it takes effect once all the same. After an unanswered publish the broker is in
doubt: one message in a while tries it, and the others spare themselves the wait.

A command about a campaign that has commands in the outbox goes there too, behind them: a
resume never overtakes a pause. Where nobody can say whether it has, it is not accepted.
So does what would go over a broken path, where it would reach nobody.
"""

import logging
import time
from collections import Counter
from collections.abc import Sequence

from infra import metrics
from infra.amqp.message import Message
from infra.amqp.publisher import Publisher
from infra.errors import Outage, PublishFailed, PublishUnknown, Unroutable
from infra.messaging.ordering_key import ordering_key
from workers.ingress.backends.broken_paths import BrokenPaths
from workers.ingress.backends.command_order import CommandOrder
from workers.ingress.backends.outbox_writer import OutboxWriter
from workers.ingress.http.errors import HttpError, unavailable

BROKER_RETRY_INTERVAL = 1.0  # seconds between two tries of a broker that is in doubt

log = logging.getLogger(__name__)


class DurablePublisher:
    """Makes messages durable, or refuses them."""

    def __init__(
        self,
        publisher: Publisher,
        stash: OutboxWriter,
        order: CommandOrder,
        paths: BrokenPaths,
        deadline: float,
    ) -> None:
        """Give the broker ``deadline`` seconds for a confirm; ``stash`` is the second choice."""
        self._publisher = publisher
        self._outbox_writer = stash
        self._command_order = order
        self._broken_paths = paths
        self._deadline = deadline
        self._in_doubt = False
        self._next_try = 0.0

    async def publish(self, message: Message) -> None:
        """Make a message durable; raises an ``HttpError`` (503) when nothing takes it."""
        if self._in_doubt and self._should_skip_broker() and await self._write_to_outbox([message]):
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
            self._in_doubt = False
            metrics.ACCEPTED["confirmed"].inc()

    async def publish_all(self, messages: Sequence[Message]) -> list[bool]:
        """Make messages durable; tells for each, in their order, whether it is.

        Commands about one campaign are published one after the other, each once the one
        before it is confirmed: the first that is not takes those after it along.
        """
        if self._in_doubt and self._should_skip_broker() and await self._write_to_outbox(messages):
            return [True] * len(messages)
        keys = [ordering_key(message) for message in messages]
        stored: set[int] = set()
        refused: set[str | None] = set()
        try:
            behind = await self._command_order.find_queued({key for key in keys if key is not None})
        except Outage as error:
            log.warning("commands are not accepted", extra={"reason": str(error)})
            behind, refused = set(), {key for key in keys if key is not None}
        for turn in group_into_rounds(keys):
            left = [place for place in turn if keys[place] not in refused]
            stored |= await self._publish_round(messages, keys, left, behind)
            refused |= {keys[place] for place in left if place not in stored} - {None}
        metrics.ACCEPTED["unavailable"].inc(len(messages) - len(stored))
        return [place in stored for place in range(len(messages))]

    async def _publish_round(
        self,
        messages: Sequence[Message],
        keys: Sequence[str | None],
        places: Sequence[int],
        behind: set[str],
    ) -> set[int]:
        """Publish what is at these places, or write it to the outbox; tells which are durable.

        ``find_queued`` are the ordering keys with rows in the outbox; those written here join them.
        """
        direct = [
            place
            for place in places
            if keys[place] not in behind and not self._broken_paths.affects(messages[place])
        ]
        errors = await self._publish_confirmed([messages[place] for place in direct])
        verdicts = dict(zip(direct, errors, strict=True))
        waiting = [p for p in places if p not in verdicts or may_retry(verdicts[p])]
        kept = not waiting or await self._write_to_outbox([messages[place] for place in waiting])
        behind |= {key for place in waiting if (key := keys[place]) is not None}
        confirmed = {place for place, error in verdicts.items() if error is None}
        return confirmed | set(waiting) if kept else confirmed

    async def _publish_confirmed(self, messages: Sequence[Message]) -> list[PublishFailed | None]:
        if not messages:
            return []
        verdicts = await self._publisher.publish_all(messages, timeout=self._deadline)
        if None in verdicts:
            self._in_doubt = False
        for error in filter(None, verdicts):
            self._record_failure(error)
        metrics.ACCEPTED["confirmed"].inc(verdicts.count(None))
        return verdicts

    async def _is_queued(self, key: str) -> bool:
        try:
            return bool(await self._command_order.find_queued([key]))
        except Outage as error:
            log.warning("a command is not accepted", extra={"reason": str(error)})
            raise _not_stored() from None

    def _should_skip_broker(self) -> bool:
        """Tell whether another message has tried the broker a moment ago; if not, this one does."""
        now = time.monotonic()
        if now < self._next_try:
            return True
        self._next_try = now + BROKER_RETRY_INTERVAL
        return False

    def _record_failure(self, error: PublishFailed) -> None:
        if isinstance(error, PublishUnknown):
            self._in_doubt = True
            self._next_try = time.monotonic() + BROKER_RETRY_INTERVAL
        elif isinstance(error, Unroutable):  # has to be seen, not stored
            log.error("the topology is not complete", extra={"reason": str(error)})

    async def _write_to_outbox(self, messages: Sequence[Message]) -> bool:
        kept = await self._outbox_writer.write(messages)
        if kept:
            metrics.ACCEPTED["outbox"].inc(len(messages))
        return kept


def may_retry(error: PublishFailed | None) -> bool:
    """Whether a message that was not confirmed may be published later."""
    return error is not None and not isinstance(error, Unroutable)


def group_into_rounds(keys: Sequence[str | None]) -> list[list[int]]:
    """Divide the places of a batch: a turn has one message of an ordering key at most."""
    seen: Counter[str] = Counter()
    turns: list[list[int]] = []
    for place, key in enumerate(keys):
        turn = 0
        if key is not None:
            turn = seen[key]
            seen[key] += 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(place)
    return turns


def _not_stored() -> HttpError:
    metrics.ACCEPTED["unavailable"].inc()
    return unavailable("The message could not be stored.")
