"""Publishes outbox rows and deletes those that the broker confirmed.

    lease (transaction) -> publish all, pipelined, no transaction open -> delete (transaction)

Several relays may run: leases keep them apart. A notification over Redis wakes them within
milliseconds of a commit; without it they poll every ``OUTBOX_POLL`` seconds.

A message for which the broker closes the channel fails everything in flight. These rows are then
published one by one, to tell a rejection from an outage: a row that is rejected alone is parked
with the broker's reason, the others are published.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from infra import metrics
from infra.amqp.topology_check import blocked_by
from infra.backoff import Backoff
from infra.errors import PublishFailed, Unroutable, Unwritable
from infra.messaging import outbox, outbox_keys
from infra.messaging.outbox import OutboxRow
from infra.messaging.routing_state import get_broken_paths
from infra.redis_errors import REDIS_ERRORS, describe_redis_error
from infra.resources import Resources
from infra.storage.redis import open_subscriber

MAX_ROWS = 500  # of a lease
MAX_REFUSALS = 5  # refusals after which a row is parked
MAX_RETRY_DELAY = 60.0  # seconds between two attempts at a row
RECONNECT_TIMEOUT = 5.0  # seconds to wait for a new channel

Results = list[tuple[OutboxRow, PublishFailed | None]]

log = logging.getLogger(__name__)


async def relay_outbox(resources: Resources, stop: asyncio.Event) -> None:
    """Publish outbox rows until ``stop`` is set."""
    wake = asyncio.Event()
    listening = resources.background.start(_listen(resources, wake), "outbox notifications")
    stopping = asyncio.create_task(_set_when(stop, wake))
    backoff = Backoff(first=0.2, longest=5)
    try:
        while not stop.is_set():
            wake.clear()
            try:
                moved = await relay_once(resources)
                backoff.reset()
            except (SQLAlchemyError, OSError) as error:
                log.warning("the outbox cannot be read", extra={"error": type(error).__name__})
                await backoff.sleep(stop)
                continue
            # Rows that were published may have blocked others of their ordering key.
            if not moved:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(resources.settings.outbox_poll):
                        await wake.wait()
    finally:
        listening.cancel()
        stopping.cancel()
        await asyncio.wait({listening, stopping})


async def relay_once(resources: Resources) -> int:
    """Lease, publish and delete one batch; returns how many rows were published.

    While the broker is unavailable nothing is leased, so an outage counts as no attempt. Rows whose
    path is broken are not leased either.
    """
    if not resources.publisher.connected:
        return 0
    lasts = asyncio.get_running_loop().time() + resources.settings.outbox_lease / 2
    async with resources.engine.begin() as tx:
        blocked = blocked_by(await get_broken_paths(tx))
        rows = await outbox.lease(tx, MAX_ROWS, resources.settings.outbox_lease, blocked)
    if not rows:
        return 0
    keys = sorted({row.ordering_key for row in rows if row.ordering_key is not None})
    tokens = await outbox_keys.get_tokens(resources.redis, keys)
    results = await _publish(resources, rows, lasts)
    done = [row for row, error in results if error is None]
    async with resources.engine.begin() as tx:
        await outbox.delete(tx, done)
        for row, error in results:
            if error is not None:
                await _put_back(tx, row, error)
        still = await outbox.find_waiting_keys(tx, keys) if keys else set()
    await outbox_keys.clear_keys(
        resources.redis, {k: t for k, t in tokens.items() if k not in still}
    )
    metrics.OUTBOX_RELAYED.inc(len(done))
    return len(done)


async def _publish(resources: Resources, rows: Sequence[OutboxRow], lasts: float) -> Results:
    """Publish rows, and again one by one those in flight when the broker closed the channel.

    That ends at ``lasts`` (the loop's time), long before the lease; what is left then was not
    rejected.
    """
    errors = await resources.publisher.publish_all([row.message for row in rows])
    results = list(zip(rows, errors, strict=True))
    if len(rows) == 1:
        return results
    settled: Results = []
    for row, error in results:
        if error is None or not error.suspect:
            settled.append((row, error))
        elif asyncio.get_running_loop().time() < lasts:
            settled.append((row, await _publish_alone(resources, row)))
        else:
            settled.append((row, PublishFailed("not tried alone")))
    return settled


async def _publish_alone(resources: Resources, row: OutboxRow) -> PublishFailed | None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(RECONNECT_TIMEOUT):
            await resources.publisher.wait_until_connected()
    return (await resources.publisher.publish_all([row.message]))[0]


async def _put_back(tx: AsyncConnection, row: OutboxRow, error: PublishFailed) -> None:
    """Return a row; one that is rejected for good, or ``MAX_REFUSALS`` times, is parked."""
    refused = isinstance(error, Unroutable) or error.suspect
    if isinstance(error, Unwritable) or (refused and row.attempts + 1 >= MAX_REFUSALS):
        details = {"event_id": row.message.message_id, "reason": str(error)}
        log.error("an outbox row can never be published and is parked", extra=details)
        await outbox.park(tx, row, str(error))
        return
    wait = min(MAX_RETRY_DELAY, 0.5 * 2 ** min(row.attempts, 10))
    await outbox.release(tx, [row], wait, refusals=int(refused))


async def _listen(resources: Resources, wake: asyncio.Event) -> None:
    backoff = Backoff(first=0.5, longest=10)
    while True:
        client = open_subscriber(resources.settings)
        try:
            async with client, client.pubsub(ignore_subscribe_messages=True) as notifications:
                await notifications.subscribe(outbox.NOTIFY_CHANNEL)
                backoff.reset()
                while True:
                    if await notifications.get_message(timeout=5) is not None:
                        wake.set()
        except REDIS_ERRORS as error:
            log.warning("no notifications from Redis", extra={"error": describe_redis_error(error)})
        await backoff.sleep()


async def _set_when(happens: asyncio.Event, wake: asyncio.Event) -> None:
    await happens.wait()
    wake.set()
