"""One attempt at a part of a batch: one transaction, and what follows its commit."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from events.envelope import Event, now
from infra.amqp.message import Message, build_message
from infra.errors import Failure
from infra.messaging import inbox, outbox
from infra.messaging.batch_result import BatchResult, FailedDelivery
from infra.messaging.context import Context
from infra.messaging.decoder import DecodedDelivery, event_key
from infra.messaging.subscription import AnySubscription, Prepare
from infra.resources import Resources
from infra.tracing import make_unsampled_context

log = logging.getLogger(__name__)


class Attempt:
    """Runs a part once; its ``result`` counts when ``run`` has returned."""

    def __init__(self, subscription: AnySubscription, resources: Resources) -> None:
        """Have no result yet."""
        self.result = BatchResult()
        self._subscription = subscription
        self._resources = resources
        self._values: dict[DecodedDelivery, Any] = {}  # what ``prepare`` made of events
        self._items: Sequence[DecodedDelivery] = ()
        self._by_key: dict[Any, DecodedDelivery] | None = None
        self._after_commit: list[Callable[[], Awaitable[None]]] = []

    async def run(self, part: Sequence[DecodedDelivery]) -> None:
        """Claim, handle and commit; whatever raises has had no effect."""
        if self._subscription.prepare is not None:
            part = await self._prepare(self._subscription.prepare, part)
            if not part:
                return
        async with self._resources.engine.begin() as tx:
            claim = await inbox.claim(tx, self._subscription.queue, part)
            caused = await self._handle(tx, claim.fresh) if claim.fresh else ()
            await outbox.add(tx, [self._build_message(event) for event in caused])
        self.result.record(claim)
        if caused:
            self._after_commit.insert(0, self._notify)

    async def finish(self) -> None:
        """Run what follows the commit; a call that fails is logged and changes nothing."""
        for call in self._after_commit:
            try:
                await call()
            except Exception as error:
                log.warning("a step after a commit failed", exc_info=error)

    async def _notify(self) -> None:
        await outbox.notify(self._resources.redis)

    async def _prepare(
        self, prepare: Prepare[Any, Any], part: Sequence[DecodedDelivery]
    ) -> list[DecodedDelivery]:
        """Prepare events not seen before; gives what is to be claimed."""
        async with self._resources.engine.connect() as connection:
            seen = await inbox.unseen(connection, self._subscription.queue, part)
        prepared = await prepare([item.event for item in seen.fresh], self._resources)
        ready = [*seen.duplicates, *seen.reused]
        for item, value in zip(seen.fresh, prepared, strict=True):
            if isinstance(value, Failure):
                self.result.failed.append(FailedDelivery.of(item, value))
            else:
                self._values[item] = value
                ready.append(item)
        return ready

    async def _handle(
        self, tx: AsyncConnection, fresh: Sequence[DecodedDelivery]
    ) -> Sequence[Event]:
        self._items = fresh
        at = now()

        def reply(event: Event, answer: dict[str, Any]) -> None:
            self.result.replies.append((self._find(event).delivery, answer))

        def arrived(event: Event) -> datetime:
            return self._find(event).delivery.first_failed or at

        def note_skipped(count: int) -> None:
            self.result.skipped += count

        after = self._after_commit.append
        context = Context(self._resources, tx, at, reply, after, arrived, note_skipped)
        if self._subscription.prepare is None:
            values = [item.event for item in fresh]
        else:
            values = [self._values[item] for item in fresh]
        return await self._subscription.handler(values, context)

    def _build_message(self, event: Event) -> Message:
        """Write an event; where traces are on, that its trace is not recorded goes along."""
        message = build_message(event)
        if self._resources.tracer is None or event.traceparent is not None:
            return message
        return message._replace(headers=make_unsampled_context().attributes)

    def _find(self, event: Event) -> DecodedDelivery:
        """Find the delivery of an event by its key."""
        if self._by_key is None:
            self._by_key = {item.key: item for item in self._items}
        return self._by_key[event_key(event)]
