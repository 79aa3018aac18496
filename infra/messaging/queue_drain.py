"""Reads what a queue holds now, message by message, for commands that empty one."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from aiormq.channel import Channel

from infra.amqp.delivery_parser import DeliveryParser
from infra.errors import Outage
from infra.messaging.batcher import Batcher
from infra.messaging.delivery import Delivery
from infra.messaging.delivery_source import MAX_PREFETCH, DeliverySource

EMPTY_AFTER = 0.5  # seconds without a delivery after which a queue counts as empty


async def read_until_empty(
    channel: Channel,
    parser: DeliveryParser,
    queue: str,
    *,
    timeout: float,  # noqa: ASYNC109 - of each wait for the broker, not of the whole
    prefetch: int = MAX_PREFETCH,
) -> AsyncGenerator[Delivery, None]:
    """Give what the queue holds, until nothing has come for ``EMPTY_AFTER`` seconds.

    The caller acknowledges; at most ``prefetch`` deliveries are unacknowledged. ``timeout``
    bounds each wait for the broker, in seconds. Raises ``Outage``.
    """
    batcher = Batcher(1, 0)
    source = DeliverySource(channel, parser, queue, timeout)
    try:
        await source.consume(
            batcher.add,
            lambda: batcher.close("cancelled"),
            prefetch=prefetch,
        )
        while batch := await _next_within(batcher, EMPTY_AFTER):
            for delivery in batch:
                yield delivery
            if channel.is_closed:
                raise Outage("the broker closed the channel")
    finally:
        source.detach()


async def _next_within(batcher: Batcher, seconds: float) -> list[Delivery]:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await batcher.next_batch()
    return []
