"""A handler whose effects can be counted, and what a test needs to see them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aio_pika import Message
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from events import CampaignMetricsReported
from events.envelope import Event, encode
from infra.amqp import topology
from infra.amqp.connection import BrokerConnection
from infra.amqp.permissions import WORKERS_USER
from infra.messaging.consumer import Consumer
from infra.messaging.outage_wait import WaitLimits
from infra.messaging.subscription import Handler, Subscription
from infra.resources import Resources

QUEUE = "metrics.record"
EVENTS = (CampaignMetricsReported,)
CREATE = "create table if not exists ledger (event_id text, impressions bigint)"
WRITE = "insert into ledger select * from unnest(cast(:ids as text[]), cast(:n as bigint[]))"


def report(number: int, **fields: Any) -> CampaignMetricsReported:
    """Make an event that can be told by its id."""
    data = {
        "platform": "claude",
        "platform_campaign_id": "c-1",
        "date": "2026-11-22",
        "impressions": number,
        "clicks": 0,
        "conversions": 0,
        "spend": 0,
    }
    return CampaignMetricsReported(
        **{"id": f"e-{number}", "source": "urn:test", "data": data} | fields
    )


async def write(tx: AsyncConnection, events: Sequence[CampaignMetricsReported]) -> None:
    """Write one line an event; the table lets an event be written twice."""
    ids, numbers = [e.id for e in events], [e.data.impressions for e in events]
    await tx.execute(text(WRITE), {"ids": ids, "n": numbers})


async def create(engine: AsyncEngine) -> None:
    """Make the ledger, empty."""
    async with engine.begin() as tx:
        await tx.execute(text(CREATE))
        await tx.execute(text("truncate ledger"))


async def written(engine: AsyncEngine) -> list[str]:
    """List the event ids in the ledger, in order, twice if written twice."""
    async with engine.connect() as connection:
        rows = await connection.execute(text("select event_id from ledger order by event_id"))
        return [row[0] for row in rows]


async def count(engine: AsyncEngine, sql: str) -> int:
    """Run a query that counts."""
    async with engine.connect() as connection:
        return int((await connection.execute(text(sql))).scalar_one())


async def publish(
    broker: AbstractConnection,
    *bodies: bytes | CampaignMetricsReported,
    key: str = "campaign.metrics_reported.v1.claude",
) -> None:
    """Publish as Adrelay's own workers, which may use any source."""
    async with broker.channel() as channel:
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE)
        messages = (
            Message(
                body if isinstance(body, bytes) else encode(body),
                content_type="application/cloudevents+json",
                delivery_mode=2,
                user_id=WORKERS_USER,
            )
            for body in bodies
        )
        await asyncio.gather(*(exchange.publish(message, key, timeout=10) for message in messages))


async def depth(broker: AbstractConnection, queue: str) -> int:
    """Count the messages that are ready in a queue."""
    async with broker.channel() as channel:
        declared = await channel.declare_queue(queue, passive=True, timeout=10)
        return declared.declaration_result.message_count or 0


async def take(broker: AbstractConnection, queue: str) -> AbstractIncomingMessage:
    """Take one message off a queue, waiting for it."""
    async with broker.channel() as channel:
        source = await channel.get_queue(queue)
        while True:
            message = await source.get(fail=False, timeout=10)
            if message is not None:
                await message.ack()
                return message
            await asyncio.sleep(0.05)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    """Wait until a condition holds; fails after ``seconds``."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def consuming(
    resources: Resources,
    handler: Handler[Any],
    *,
    queue: str = QUEUE,
    events: tuple[type[Event], ...] = EVENTS,
    limits: WaitLimits | None = None,
    **options: Any,
) -> AsyncIterator[Consumer]:
    """Run a consumer, of the metrics queue unless told otherwise, for the length of a block."""
    subscription = Subscription(queue, events, handler, **options)
    link = BrokerConnection(resources.settings, "test:consume")
    consumer = Consumer(subscription, resources, link, asyncio.Lock(), limits=limits)
    stop = asyncio.Event()
    task = asyncio.create_task(consumer.run(stop))
    try:
        yield consumer
    finally:
        stop.set()
        await asyncio.wait({task}, timeout=10)
        task.cancel()
        await link.close()
        assert task.done(), "the consumer did not stop"
        task.result()


def headers_of(message: AbstractIncomingMessage) -> dict[str, Any]:
    """Give the headers of a message without their prefix."""
    return {name.removeprefix("x-adrelay-"): value for name, value in message.headers.items()}


def body_of(message: AbstractIncomingMessage) -> Any:
    """Give the body of a message as JSON."""
    return orjson.loads(message.body)
