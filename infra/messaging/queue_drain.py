"""Reads what a queue holds now, message by message, for commands that empty one.

Deliveries come off the connection's tap, so the client library decodes none of them.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from uuid import uuid4

from aiormq.channel import Channel

from infra.amqp.connection import with_broker_timeout
from infra.amqp.delivery_parser import DeliveryParser
from infra.amqp.intercepting_reader import never_called
from infra.errors import Outage
from infra.messaging.batcher import Batcher
from infra.messaging.delivery import Delivery, delivery_callback

QUIET = 0.5  # seconds without a delivery after which a queue counts as empty


async def read_until_empty(
    channel: Channel,
    tap: DeliveryParser,
    queue: str,
    *,
    limit: float,
    prefetch: int = 2000,
    arguments: Mapping[str, Any] | None = None,
    quiet: float = QUIET,
) -> AsyncGenerator[Delivery, None]:
    """Give what the queue holds, until nothing has come for ``quiet`` seconds.

    The caller acknowledges; as many may stay unacknowledged as ``prefetch`` says (2000 at most
    on a quorum queue). ``arguments`` say where in a stream to begin; ``limit`` bounds each wait
    for the broker, in seconds. Raises ``Outage``.
    """
    intake = Batcher(1, 0)
    consumer = f"{queue}.{uuid4().hex}"

    tap.add(consumer, delivery_callback(queue, intake.put))
    try:
        await with_broker_timeout(channel.basic_qos(prefetch_count=prefetch), limit)
        consuming = channel.basic_consume(
            queue, never_called, consumer_tag=consumer, arguments=dict(arguments or {})
        )
        await with_broker_timeout(consuming, limit)
        while batch := await _next_within(intake, quiet):
            for delivery in batch:
                yield delivery
            if channel.is_closed:
                raise Outage("the broker closed the channel")
    finally:
        tap.remove(consumer)


async def _next_within(intake: Batcher, seconds: float) -> list[Delivery]:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await intake.next(lambda: False)
    return []
