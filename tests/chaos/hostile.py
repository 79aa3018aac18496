"""A hostile publisher, who goes past our own code: raw bytes, any headers, any routing key."""

import json
from collections.abc import Sequence
from typing import Any

import orjson
from aio_pika import Message
from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsReported
from events.envelope import Event, encode
from infra.amqp import topology
from infra.amqp.permissions import WORKERS_USER
from infra.messaging.context import Context
from tests.infra.ledger import QUEUE, depth, report, until, write, written

DEAD = topology.dead_queue(QUEUE)
GOOD_KEY = "campaign.metrics_reported.v1.claude"
Reports = list[CampaignMetricsReported]


def changed(**fields: Any) -> bytes:
    """Write a report with some of its data replaced."""
    event = orjson.loads(encode(report(1)))
    event["data"] |= fields
    return json.dumps(event).encode()


def enveloped(**fields: Any) -> bytes:
    """Write a report with some of its envelope replaced."""
    return json.dumps(orjson.loads(encode(report(1))) | fields).encode()


async def note(events: Reports, ctx: Context) -> Sequence[Event]:
    await write(ctx.tx, events)
    return ()


async def send(
    broker: AbstractConnection, *bodies: bytes, key: str = GOOD_KEY, **headers: Any
) -> None:
    async with broker.channel() as channel:
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE)
        for body in bodies:
            message = Message(
                body,
                headers=headers,
                user_id=WORKERS_USER,
                content_type="application/cloudevents+json",
            )
            await exchange.publish(message, key, timeout=20)


async def letters(broker: AbstractConnection, count: int) -> list[dict[str, Any]]:
    """Take so many dead letters; gives their headers."""
    await until(lambda: holds(broker, count))
    async with broker.channel() as channel:
        queue = await channel.get_queue(DEAD)
        taken = []
        for _ in range(count):
            message = await queue.get(timeout=10)
            assert message is not None
            taken.append(dict(message.headers))
            await message.ack()
    return taken


async def holds(broker: AbstractConnection, count: int) -> bool:
    return await depth(broker, DEAD) >= count


async def applied(engine: AsyncEngine, count: int) -> bool:
    return len(await written(engine)) >= count


async def is_empty(broker: AbstractConnection) -> bool:
    return await depth(broker, QUEUE) == 0
