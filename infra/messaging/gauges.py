"""The relay worker's eyes: gauges of what waits, what is dead, what nobody wanted."""

import asyncio
import logging
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from events.envelope import now
from infra import metrics
from infra.amqp import declare, topology
from infra.amqp.connection import BrokerConnection, with_broker_timeout
from infra.errors import Outage
from infra.messaging import inbox, outbox_keys
from infra.messaging.isolation import delete_old_markers
from infra.resources import Resources
from infra.storage.audit import delete_old_audit_entries
from infra.storage.dead_letters import count_open, delete_old_dead_letters
from infra.storage.operations import delete_old_operations
from infra.storage.sessions import delete_old_sessions, expiry_cutoff
from infra.storage.stopped_queues import list_stopped_queues

INTERVAL = 5.0  # seconds
FORGET_EVERY = 600.0  # seconds
KEPT = timedelta(days=30)  # a session that can no longer be used, for whoever looks back

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
    link = BrokerConnection(resources.settings, "relay:watch")
    try:
        while not stop.is_set():
            # Each alone: while one is gone, the other is what people want to see.
            try:
                await _look_at_database(resources)
            except (SQLAlchemyError, OSError) as error:
                log.warning("cannot look at the database", extra={"error": type(error).__name__})
            try:
                await look_at_broker(link, resources.settings.broker_timeout)
            except Outage as error:
                log.warning("cannot look at the broker", extra={"reason": str(error)})
            await _rest(stop, INTERVAL)
    finally:
        await link.close()


async def delete_expired(resources: Resources, stop: asyncio.Event) -> None:
    """Delete what was kept for long enough, a few rows at a time: nothing that is still open.

    Inbox marks, sessions long over, replayed and discarded dead letters, operations that have
    ended, and the audit log, each after its own number of days.
    """
    settings = resources.settings
    while not stop.is_set():
        long_over = expiry_cutoff(settings, now()) - KEPT
        try:
            async with resources.engine.begin() as tx:
                gone = await inbox.forget(tx, settings.inbox_days)
                gone += await delete_old_sessions(tx, long_over)
                gone += await delete_old_dead_letters(tx, settings.dead_letter_days)
                gone += await delete_old_operations(tx, settings.operation_days)
                gone += await delete_old_audit_entries(tx, settings.audit_days)
                await delete_old_markers(tx)
        except (SQLAlchemyError, OSError) as error:
            log.warning("cannot clean the database", extra={"error": type(error).__name__})
            gone = 0
        if gone == 0:
            await _rest(stop, FORGET_EVERY)


async def _look_at_database(resources: Resources) -> None:
    async with resources.engine.connect() as connection:
        row = (await connection.execute(OUTBOX)).one()
        letters = await count_open(connection)
        await outbox_keys.restore(connection, resources.redis)
        stopped = {stop.queue for stop in await list_stopped_queues(connection)}
    metrics.OUTBOX_ROWS.set(row.waiting)
    metrics.OUTBOX_PARKED.set(row.parked)
    metrics.OUTBOX_OLDEST_SECONDS.set(row.oldest)
    for queue in topology.WORK_QUEUE_NAMES:
        metrics.DEAD_LETTERS.labels(queue).set(letters.get(queue, 0))
        # The worker says it too, while it runs.
        metrics.CONSUMER_STOPPED.labels(queue).set(queue in stopped)


async def look_at_broker(link: BrokerConnection, limit: float) -> None:
    """Set the gauges of every queue; each answer is waited for ``limit`` seconds at most."""
    channel = await link.channel()
    try:
        for queue in declare.queues():
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


async def _rest(stop: asyncio.Event, seconds: float) -> None:
    waiting = asyncio.ensure_future(stop.wait())
    await asyncio.wait({waiting}, timeout=seconds)
    waiting.cancel()
