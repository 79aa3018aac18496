"""A queue on the public exchange, to see what passes; and an upstream system's connection.

It shows the events that the system exchanges, so that a story can name them.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
from aio_pika.abc import AbstractExchange, AbstractIncomingMessage
from pamqp.common import FieldTable

from infra.amqp import topology
from infra.deploy.demo.api_client import DemoFailed

EventJson = dict[str, Any]
BROKER_TIMEOUT = 10.0  # seconds
EVENT_TIMEOUT = 30.0  # seconds
MAX_QUEUE_LENGTH = 100_000


class EventListener:
    """Every event that passed since it was opened, the oldest first."""

    def __init__(self, user: str, exchange: AbstractExchange) -> None:
        """Remember as whom and where to publish; ``listen_for_events`` fills it."""
        self._user = user
        self._exchange = exchange
        self._arrived = asyncio.Condition()
        self.events: list[EventJson] = []

    async def on_message(self, message: AbstractIncomingMessage) -> None:
        """Keep one delivery."""
        try:
            event = json.loads(message.body)
        except ValueError:
            return
        async with self._arrived:
            if isinstance(event, dict) and "type" in event and "id" in event:
                self.events.append(event)
            self._arrived.notify_all()

    async def wait_for(self, what: str, matches: Callable[[EventJson], bool]) -> EventJson:
        """Return the first event that matches, which may have passed already.

        Raises ``DemoFailed`` when none comes in half a minute.
        """
        seen = 0
        try:
            async with asyncio.timeout(EVENT_TIMEOUT), self._arrived:
                while True:
                    for event in self.events[seen:]:
                        if matches(event):
                            return event
                    seen = len(self.events)
                    await self._arrived.wait()
        except TimeoutError:
            raise DemoFailed(f"no {what} came within {EVENT_TIMEOUT:.0f} s") from None

    async def publish(self, event: EventJson, routing_key: str) -> None:
        """Publish an event as an upstream system does: confirmed, in structured mode."""
        message = aio_pika.Message(
            json.dumps(event).encode(),
            content_type="application/cloudevents+json",
            message_id=event["id"],
            type=event["type"],
            user_id=self._user,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        await self._exchange.publish(message, routing_key, timeout=BROKER_TIMEOUT)


@asynccontextmanager
async def listen_for_events(looking: str, publishing: str) -> AsyncIterator[EventListener]:
    """Connect, bind the queue to everything, and close in the end.

    ``looking`` is the URL of a user of the broker who may bind, ``publishing`` an upstream
    system's.
    """
    async with (
        await aio_pika.connect(looking, timeout=BROKER_TIMEOUT) as observer,
        await aio_pika.connect(publishing, timeout=BROKER_TIMEOUT) as upstream,
    ):
        channel = await upstream.channel()
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE, ensure=False)
        listener = EventListener(upstream.url.user or "guest", exchange)
        listening = await observer.channel()
        arguments: FieldTable = {"x-max-length": MAX_QUEUE_LENGTH}
        queue = await listening.declare_queue(exclusive=True, durable=False, arguments=arguments)
        await queue.bind(topology.EVENTS_EXCHANGE, "#", timeout=BROKER_TIMEOUT)
        await queue.consume(listener.on_message, no_ack=True, timeout=BROKER_TIMEOUT)
        yield listener
