"""Exports gauges for queue lengths, the outbox, dead letters and unrouted messages."""

import asyncio
import logging

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from infra import metrics
from infra.amqp import topology, topology_declaration
from infra.amqp.connection import BrokerConnection, with_broker_timeout
from infra.backoff import sleep_until
from infra.errors import Outage
from infra.messaging import outbox_keys
from infra.resources import Resources
from infra.storage.dead_letters import count_open
from infra.storage.stopped_queues import list_stopped_queues

INTERVAL = 5.0  # seconds

OUTBOX = text("""
    select count(*) filter (where parked_reason is null) as waiting,
           count(*) filter (where parked_reason is not null) as parked,
           coalesce(extract(epoch from now() - min(created_at)
                    filter (where parked_reason is null)), 0) as oldest
    from outbox
""")

log = logging.getLogger(__name__)


async def export_gauges(resources: Resources, stop: asyncio.Event) -> None:
    """Set the gauges every few seconds until ``stop`` is set."""
    link = BrokerConnection(resources.settings, "relay:gauges")
    try:
        while not stop.is_set():
            # Each on its own: while one is unavailable, the other is still exported.
            try:
                await _export_database_gauges(resources)
            except (SQLAlchemyError, OSError) as error:
                log.warning(
                    "the database gauges cannot be read", extra={"error": type(error).__name__}
                )
            try:
                await export_queue_gauges(link, resources.settings.broker_timeout)
            except Outage as error:
                log.warning("the queue gauges cannot be read", extra={"reason": str(error)})
            await sleep_until(stop, INTERVAL)
    finally:
        await link.close()


async def _export_database_gauges(resources: Resources) -> None:
    async with resources.engine.connect() as connection:
        row = (await connection.execute(OUTBOX)).one()
        dead_letters = await count_open(connection)
        await outbox_keys.restore_keys(connection, resources.redis)
        stopped = {stop.queue for stop in await list_stopped_queues(connection)}
    metrics.OUTBOX_ROWS.set(row.waiting)
    metrics.OUTBOX_PARKED.set(row.parked)
    metrics.OUTBOX_OLDEST_SECONDS.set(row.oldest)
    for queue in topology.WORK_QUEUE_NAMES:
        metrics.DEAD_LETTERS.labels(queue).set(dead_letters.get(queue, 0))
        # The worker exports it too, while it runs.
        metrics.CONSUMER_STOPPED.labels(queue).set(queue in stopped)


async def export_queue_gauges(link: BrokerConnection, limit: float) -> None:
    """Set the gauges of every queue; ``limit`` bounds each wait for the broker, in seconds."""
    channel = await link.open_channel()
    try:
        for queue in topology_declaration.queues():
            if queue.name == topology.EVENT_LOG:
                continue
            declaring = channel.queue_declare(queue.name, passive=True)
            found = await with_broker_timeout(declaring, limit)
            metrics.QUEUE_MESSAGES.labels(queue.name).set(found.message_count or 0)
            metrics.QUEUE_CONSUMERS.labels(queue.name).set(found.consumer_count or 0)
            if queue.name == topology.UNROUTED:
                metrics.UNROUTED_MESSAGES.set(found.message_count or 0)
    finally:
        await with_broker_timeout(channel.close(), limit)
