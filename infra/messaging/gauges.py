"""Exports gauges for queue lengths, the outbox, dead letters and unrouted messages."""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from infra import metrics
from infra.amqp import topology
from infra.amqp.connection import BrokerConnection
from infra.backoff import sleep_until
from infra.errors import Outage
from infra.messaging import outbox_keys
from infra.messaging.queue_counts import count_queues, put_counts
from infra.resources import Resources
from infra.storage.dead_letters import count_open
from infra.storage.event_index import READER
from infra.storage.pauses import PauseRow, list_pauses
from infra.storage.row_counts import count_rows
from schemas.types import PLATFORMS

INTERVAL = 5.0  # seconds

OUTBOX = text("""
    select count(*) filter (where parked_reason is null) as waiting,
           count(*) filter (where parked_reason is not null) as parked,
           coalesce(extract(epoch from now() - min(created_at)
                    filter (where parked_reason is null)), 0) as oldest
    from outbox
""")
INDEX_LAG = text("""
    select extract(epoch from now() - complete_until) from log_positions where reader = :reader
""")

TABLE_ROWS = {"inbox": metrics.INBOX_ROWS, "audit": metrics.AUDIT_ROWS}

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
                await export_queue_gauges(link, resources.settings.broker_timeout, resources.redis)
            except Outage as error:
                log.warning("the queue gauges cannot be read", extra={"reason": str(error)})
            await sleep_until(stop, INTERVAL)
    finally:
        await link.close()


async def _export_database_gauges(resources: Resources) -> None:
    async with resources.engine.connect() as connection:
        row = (await connection.execute(OUTBOX)).one()
        dead_letters = await count_open(connection)
        tables = await count_rows(connection)
        await outbox_keys.restore_keys(connection, resources.redis)
        pauses = await list_pauses(connection)
        lag = (await connection.execute(INDEX_LAG, {"reader": READER})).scalar_one_or_none()
    for name, gauge in TABLE_ROWS.items():
        gauge.set(tables[name])
    for state, gauge in metrics.OPERATIONS_ROWS.items():
        gauge.set(tables[f"operations {state}"])
    metrics.OUTBOX_ROWS.set(row.waiting)
    metrics.OUTBOX_PARKED.set(row.parked)
    metrics.OUTBOX_OLDEST_SECONDS.set(row.oldest)
    if lag is not None:
        metrics.EVENT_INDEX_LAG_SECONDS.set(max(0.0, float(lag)))
    for queue in topology.WORK_QUEUE_NAMES:
        metrics.DEAD_LETTERS.labels(queue).set(dead_letters.get(queue, 0))
    _export_pauses(pauses)


async def export_queue_gauges(
    link: BrokerConnection, limit: float, redis: Redis | None = None
) -> None:
    """Set the gauges of every queue, and leave the counts in Redis.

    ``limit`` bounds each wait for the broker, in seconds.
    """
    counts = await count_queues(link, limit)
    for queue, count in counts.by_queue.items():
        metrics.QUEUE_MESSAGES.labels(queue).set(count.ready)
        metrics.QUEUE_CONSUMERS.labels(queue).set(count.consumers)
    metrics.UNROUTED_MESSAGES.set(counts.by_queue[topology.UNROUTED].ready)
    if redis is not None:
        await put_counts(redis, counts)


def _export_pauses(rows: Sequence[PauseRow]) -> None:
    """Set the gauges of pauses; those of the circuit breaker are counted as stops."""
    paused = Counter((row.kind, row.name) for row in rows if row.code_version is None)
    stopped = {row.name for row in rows if row.code_version is not None}
    for queue in topology.WORK_QUEUE_NAMES:
        metrics.PAUSED.labels("queue", queue).set(paused["queue", queue])
        # The worker exports it too, while it runs.
        metrics.CONSUMER_STOPPED.labels(queue).set(queue in stopped)
    for platform in PLATFORMS:
        metrics.PAUSED.labels("platform", platform).set(paused["platform", platform])
        metrics.PAUSED.labels("account", platform).set(paused["account", platform])
