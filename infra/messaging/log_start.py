"""Exports how far back the event log reaches, to compare with the age of the newest backup."""

import asyncio
import logging
from contextlib import aclosing

from infra import metrics
from infra.amqp.connection import BrokerConnection
from infra.backoff import sleep_until
from infra.errors import Outage
from infra.messaging.event_log import LONGEST_CHUNK, read_log
from infra.resources import Resources
from infra.settings.rules import parse_duration

INTERVAL = 60.0  # seconds
NOTHING_DROPPED = 0.0
EMPTY_AFTER = 0.5  # seconds

log = logging.getLogger(__name__)


async def export_log_start(resources: Resources, stop: asyncio.Event) -> None:
    """Look at the beginning of the log once a minute until ``stop`` is set."""
    settings = resources.settings
    if settings.backup_max_age is not None:
        metrics.BACKUP_MAX_AGE.set(parse_duration(settings.backup_max_age).total_seconds())
    link = BrokerConnection(settings, "relay:log-start")
    try:
        while not stop.is_set():
            try:
                started = await find_log_start(link, settings.broker_timeout)
            except Outage as error:
                log.warning("the event log cannot be read", extra={"reason": str(error)})
            else:
                if started is not None:
                    metrics.LOG_START.set(started)
            await sleep_until(stop, INTERVAL)
    finally:
        await link.close()


async def find_log_start(connection: BrokerConnection, timeout: float) -> float | None:  # noqa: ASYNC109 - of each wait for the broker
    """Find when what the log begins with was published, in seconds since 1970.

    0 while nothing was dropped; None of a log that tells no time. Raises ``Outage``.
    """
    reading = read_log(
        connection, "first", timeout=timeout, empty_after=EMPTY_AFTER, batch=1, prefetch=1
    )
    async with aclosing(reading) as batches:
        looked_at = 0
        async for (entry,) in batches:
            if entry.offset == looked_at == 0:
                return NOTHING_DROPPED
            if entry.published_at is not None:
                return entry.published_at.timestamp()
            looked_at += 1
            if looked_at >= LONGEST_CHUNK:
                break
    return None
