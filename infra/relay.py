"""The relay: publishes outbox rows, whoever wrote them, and deletes what is confirmed.

    lease (transaction) -> publish all, pipelined, no transaction open -> delete (transaction)

Several relays may run: leases keep them apart. A hint over Redis wakes them within
milliseconds of a commit; without it they look every ``OUTBOX_POLL`` seconds.
"""

import asyncio
import contextlib

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from infra import outbox, telemetry
from infra.backoff import Backoff
from infra.errors import PublishFailed, Unroutable
from infra.outbox import Row
from infra.resources import Resources

MOST = 500  # rows a lease
PATIENCE = 5  # leases after which an unroutable row is parked
LONGEST = 60.0  # seconds between two tries of a row

log = telemetry.get_logger(__name__)


async def relay_outbox(resources: Resources, stop: asyncio.Event) -> None:
    """Publish outbox rows until ``stop`` is set."""
    wake = asyncio.Event()
    listening = asyncio.create_task(_listen(resources, wake))
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
            if moved < MOST:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(resources.settings.outbox_poll):
                        await wake.wait()
    finally:
        listening.cancel()
        stopping.cancel()
        await asyncio.wait({listening, stopping})


async def relay_once(resources: Resources) -> int:
    """Lease, publish and delete one batch; tells how many rows are gone.

    While the broker is gone nothing is leased, so no row ages by an outage.
    """
    if not resources.publisher.connected:
        return 0
    async with resources.engine.begin() as tx:
        rows = await outbox.lease(tx, MOST, resources.settings.outbox_lease)
    if not rows:
        return 0
    errors = await resources.publisher.publish_all([row.message for row in rows])
    done = [row for row, error in zip(rows, errors, strict=True) if error is None]
    left = [(row, error) for row, error in zip(rows, errors, strict=True) if error is not None]
    async with resources.engine.begin() as tx:
        await outbox.delete(tx, done)
        for row, error in left:
            await _put_back(tx, row, error)
    telemetry.OUTBOX_RELAYED.inc(len(done))
    return len(done)


async def _put_back(tx: AsyncConnection, row: Row, error: PublishFailed) -> None:
    if isinstance(error, Unroutable) and row.attempts >= PATIENCE:
        details = {"event_id": row.message.message_id, "reason": str(error)}
        log.error("an outbox row can never be published and is parked", extra=details)
        await outbox.park(tx, row, str(error))
        return
    await outbox.release(tx, [row], min(LONGEST, 0.5 * 2 ** min(row.attempts, 10)))


async def _listen(resources: Resources, wake: asyncio.Event) -> None:
    backoff = Backoff(first=0.5, longest=10)
    url = resources.settings.redis_url.get_secret_value()
    while True:
        client = Redis.from_url(
            url, socket_connect_timeout=resources.settings.redis_timeout, health_check_interval=10
        )
        try:
            async with client, client.pubsub(ignore_subscribe_messages=True) as hints:
                await hints.subscribe(outbox.HINTS)
                backoff.reset()
                while True:
                    if await hints.get_message(timeout=5) is not None:
                        wake.set()
        except (RedisError, OSError) as error:
            log.warning("no hints from Redis", extra={"error": type(error).__name__})
        await backoff.sleep()


async def _set_when(happens: asyncio.Event, wake: asyncio.Event) -> None:
    await happens.wait()
    wake.set()
