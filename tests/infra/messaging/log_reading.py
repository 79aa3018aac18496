"""Writes to the event log and reads it, for tests."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any
from uuid import uuid4

from aio_pika import Message
from aio_pika.abc import AbstractConnection

from infra.amqp import topology
from infra.amqp.connection import BrokerConnection
from infra.messaging.event_log import LogEntry, LogStart, read_log

TIMEOUT = 10.0  # seconds
EMPTY_AFTER = 0.3  # seconds
FACT = "user.registered.v1"  # only the log takes it
AT_ONCE = 2000  # unconfirmed


async def write_log(
    broker: AbstractConnection, ids: Sequence[str], body: bytes = b"{}", key: str = FACT
) -> None:
    """Publish to the log in this order, confirmed; the ids are the message ids."""
    async with broker.channel() as channel:
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE, ensure=False)
        messages = [Message(body, message_id=name, delivery_mode=2) for name in ids]
        for at in range(0, len(messages), AT_ONCE):
            some = messages[at : at + AT_ONCE]
            await asyncio.gather(*(exchange.publish(message, key) for message in some))


async def read_all(link: BrokerConnection, start: LogStart, **options: Any) -> list[LogEntry]:
    """Read from ``start`` to the end."""
    wanted = {"timeout": TIMEOUT, "empty_after": EMPTY_AFTER} | options
    entries: list[LogEntry] = []
    async with aclosing(read_log(link, start, **wanted)) as batches:
        async for batch in batches:
            entries += batch
    return entries


async def find_next_offset(broker: AbstractConnection, link: BrokerConnection) -> int:
    """Find the offset that the next event will get."""
    marker = uuid4().hex
    await write_log(broker, [marker])
    entries = await read_all(link, "last")
    return next(e.offset for e in entries if e.delivery.message_id == marker) + 1


def ids_of(entries: Sequence[LogEntry]) -> list[str | None]:
    """List message ids."""
    return [entry.delivery.message_id for entry in entries]
