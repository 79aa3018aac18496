"""Counts what waits in the queues: messages and consumers, as the broker knows them.

The relay counts every few seconds and leaves the counts in Redis, for processes whose broker user
may see no queue.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import orjson
from redis.asyncio import Redis

from events.envelope import now
from infra.amqp import topology, topology_declaration
from infra.amqp.connection import BrokerConnection, with_broker_timeout
from infra.redis_errors import REDIS_ERRORS

REDIS_KEY = "adrelay:queue-counts"
KEPT_SECONDS = 60


class QueueCount(NamedTuple):
    """Messages ready in a queue, and its consumers."""

    ready: int
    consumers: int


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """Counts by queue, and when the broker was asked (UTC); empty where nobody could ask."""

    counted_at: datetime | None = None
    by_queue: Mapping[str, QueueCount] = field(default_factory=dict)


async def count_queues(link: BrokerConnection, limit: float) -> QueueCounts:
    """Ask the broker for the counts of every queue but the event log.

    ``limit`` bounds each wait for the broker, in seconds; raises ``Outage``.
    """
    counts: dict[str, QueueCount] = {}
    channel = await link.open_channel()
    try:
        for queue in topology_declaration.queues():
            if queue.name == topology.EVENT_LOG:
                continue
            declaring = channel.queue_declare(queue.name, passive=True)
            found = await with_broker_timeout(declaring, limit)
            counts[queue.name] = QueueCount(found.message_count or 0, found.consumer_count or 0)
    finally:
        await with_broker_timeout(channel.close(), limit)
    return QueueCounts(now(), counts)


async def put_counts(redis: Redis, counts: QueueCounts) -> None:
    """Leave counts in Redis; without Redis nothing happens."""
    known = {"at": counts.counted_at, "queues": {n: [*c] for n, c in counts.by_queue.items()}}
    try:
        await redis.set(REDIS_KEY, orjson.dumps(known), ex=KEPT_SECONDS)
    except REDIS_ERRORS:
        return


async def get_counts(redis: Redis) -> QueueCounts:
    """Get the relay's latest counts; empty while there are none."""
    try:
        stored = await redis.get(REDIS_KEY)
    except REDIS_ERRORS:
        return QueueCounts()
    if stored is None:
        return QueueCounts()
    known = orjson.loads(stored)
    counts = {name: QueueCount(*pair) for name, pair in known["queues"].items()}
    return QueueCounts(datetime.fromisoformat(known["at"]), counts)
