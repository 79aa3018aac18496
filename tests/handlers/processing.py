"""Handlers driven as functions: one real transaction, committed, and what follows a commit."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from pamqp.commands import Basic

from events.envelope import Event, encode, now
from infra.amqp import topology
from infra.messaging.batch_result import BatchResult, Work
from infra.messaging.context import Context
from infra.messaging.decoder import DecodedDelivery, event_key
from infra.messaging.delivery import Delivery
from infra.messaging.digest import content_digest
from infra.messaging.processor import BatchProcessor
from infra.messaging.subscription import AnySubscription, Handler
from infra.resources import Resources


async def handled(
    resources: Resources,
    handler: Handler[Any],
    events: Sequence[Any],
    at: datetime | None = None,
    arrived: datetime | None = None,
) -> list[Any]:
    """Let a handler handle events, as one attempt at the time ``at``; gives what they caused.

    They were first delivered at the time ``arrived``, else now.
    """
    after: list[Callable[[], Awaitable[None]]] = []
    at = at or now()
    first = arrived or at
    async with resources.engine.begin() as tx:
        ctx = Context(resources, tx, at, lambda *_: None, after.append, lambda _: first)
        caused = list(await handler(list(events), ctx))
    for call in after:
        await call()
    return caused


async def attempted(
    resources: Resources, subscription: AnySubscription, events: Sequence[Event]
) -> BatchResult:
    """Lead deliveries of events through a whole attempt: inbox, handler, outbox, commit."""
    batch = [received(subscription.queue, event) for event in events]
    return await BatchProcessor(subscription, resources).run(Work([batch]))


def received(queue: str, event: Event) -> DecodedDelivery:
    """Make the delivery of an event."""
    delivery = Delivery(
        tag=1,
        queue=queue,
        exchange=topology.WORK_EXCHANGE,
        key=event.routing_key,
        body=encode(event),
        header=Basic.Properties(),
        redelivered=False,
    )
    return DecodedDelivery(delivery, event, event_key(event), content_digest(event))
