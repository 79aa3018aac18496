"""Recovers from the event log what was accepted while the path to a queue was broken.

The log (a stream) is read from the moment at which every path was whole for the last time. What
a queue whose path was lost has neither handled nor filed as a dead letter goes to it through the
outbox, to it alone, and stays its first publisher's. What stands in the queue all the same comes
twice, and the inbox drops it.
"""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from events import EVENT_TYPES
from events.envelope import now
from infra.amqp import topology
from infra.amqp.connection import BrokerConnection
from infra.amqp.message import Message
from infra.errors import Permanent
from infra.messaging import outbox
from infra.messaging.authorization import internal_users
from infra.messaging.decoder import DecodedDelivery, decode_delivery
from infra.messaging.delivery import Delivery
from infra.messaging.destination_queues import find_destination_queues
from infra.messaging.event_latency import accepted_at
from infra.messaging.event_log import LogStart, find_end, read_log
from infra.messaging.republish import requeue_message
from infra.messaging.routing_state import LOG_START, RoutingState
from infra.settings import Settings

MARGIN = timedelta(minutes=1)  # clocks differ, and the log knows the time of its chunks alone
MOST = 200  # events in one transaction

KNOWN = text("""
    select key from inbox where consumer = :queue and key = any(cast(:keys as uuid[]))
    union
    select asked.key from unnest(
        cast(:keys as uuid[]), cast(:sources as text[]), cast(:ids as text[])
    ) as asked (key, source, id)
    join dead_letters as d
        on d.queue = :queue and d.source = asked.source and d.event_id = asked.id
            and d.state <> 'replayed'
""")


async def recover(settings: Settings, engine: AsyncEngine, routing: RoutingState) -> int:
    """Recover what the lost paths of ``routing`` missed; returns the number of messages.

    Raises ``Outage`` or what SQLAlchemy raises; to repeat it is safe.
    """
    lost = routing.lost_paths & set(topology.WORK_QUEUE_NAMES)
    if routing.lost_since is None or not lost:
        return 0
    link, went = BrokerConnection(settings, "recovery"), 0
    try:
        async with aclosing(_read_since(link, routing.lost_since, settings)) as batches:
            async for batch in batches:
                async with engine.begin() as tx:
                    messages = await _missed(tx, batch, lost, settings)
                    await outbox.add(tx, messages)
                went += len(messages)
    finally:
        await link.close()
    return went


async def _read_since(
    connection: BrokerConnection, since: datetime, settings: Settings
) -> AsyncGenerator[list[Delivery], None]:
    """Read the log since a time, in batches, up to where it ended at the start."""
    limit = settings.broker_timeout
    end = await find_end(connection, limit)
    if end is None:
        return
    start: LogStart = "first" if since == LOG_START else since - MARGIN
    reading = read_log(connection, start, timeout=limit, until=end, batch=MOST)
    async with aclosing(reading) as batches:
        async for entries in batches:
            yield [entry.delivery for entry in entries]


async def _missed(
    tx: AsyncConnection, batch: Sequence[Delivery], lost: Collection[str], settings: Settings
) -> list[Message]:
    """Build the messages that the lost queues have neither handled nor filed."""
    messages: list[Message] = []
    internal = internal_users(settings)
    for queue in sorted(lost):
        wanted = [delivery for delivery in batch if queue in find_destination_queues(delivery)]
        if not wanted:
            continue
        read = {delivery.tag: _read(delivery, settings) for delivery in wanted}
        known = await _known(tx, queue, [found for found in read.values() if found is not None])
        for delivery in wanted:
            found = read[delivery.tag]
            if found is None or found.key not in known:
                accepted = accepted_at(delivery, internal)
                messages.append(requeue_message(delivery, queue, now(), accepted))
    return messages


def _read(delivery: Delivery, settings: Settings) -> DecodedDelivery | None:
    """Decode an event; None for what its queue dead-letters."""
    try:
        return decode_delivery(delivery, EVENT_TYPES, settings.max_event_bytes)
    except Permanent:
        return None


async def _known(tx: AsyncConnection, queue: str, events: Sequence[DecodedDelivery]) -> set[UUID]:
    """Find which events a queue has handled or filed."""
    if not events:
        return set()
    asked: Mapping[str, Any] = {
        "queue": queue,
        "keys": [found.key for found in events],
        "sources": [found.event.source for found in events],
        "ids": [found.event.id for found in events],
    }
    return {row.key for row in await tx.execute(KNOWN, asked)}
