"""Checks every few seconds, over the management API, that every path to a queue is complete."""

import asyncio
import logging
from urllib.parse import unquote, urlsplit

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import now
from infra import metrics
from infra.amqp import topology_check
from infra.amqp.management_api import ManagementApi
from infra.amqp.topology_check import TopologyPart
from infra.backoff import sleep_until
from infra.errors import Outage
from infra.messaging.routing_state import RoutingState, record_check
from infra.resources import Resources
from infra.settings import Settings

INTERVAL = 10.0  # seconds
TIMEOUT = 8.0  # seconds for the three requests of a check

log = logging.getLogger(__name__)


def vhost_of(settings: Settings) -> str:
    """Read the vhost from the broker's URL."""
    url = settings.rabbitmq_url.get_secret_value().split()[0]
    return unquote(urlsplit(url).path.removeprefix("/")) or "/"


async def missing_parts(settings: Settings) -> list[TopologyPart] | None:
    """Ask the broker which parts of the topology are missing; None without a management API.

    Raises ``Outage`` when it does not answer, or not what was asked for.
    """
    management = ManagementApi.from_settings(settings)
    if management is None:
        return None
    try:
        async with asyncio.timeout(TIMEOUT):
            lists = await management.list_topology(vhost_of(settings), TIMEOUT)
        return topology_check.missing_parts(topology_check.parse_listing(*lists))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Outage(f"the management API does not tell the topology: {error}") from error


async def check_once(settings: Settings, engine: AsyncEngine) -> RoutingState | None:
    """Check once and record the result; None without a management API.

    Raises ``Outage``, or what SQLAlchemy raises.
    """
    at = now()
    missing = await missing_parts(settings)
    if missing is None:
        return None
    async with engine.begin() as tx:
        return await record_check(tx, missing, at)


async def monitor_topology(resources: Resources, stop: asyncio.Event) -> None:
    """Check until ``stop`` is set; log what is missing, and when every path is complete again."""
    settings, was = resources.settings, RoutingState()
    while not stop.is_set():
        try:
            found = await check_once(settings, resources.engine)
        except (Outage, SQLAlchemyError, OSError) as error:
            log.warning("the topology cannot be checked", extra={"reason": str(error)[:500]})
            found = None
        if found is not None:
            _export(was, found)
            was = found
        await sleep_until(stop, INTERVAL)


def _export(was: RoutingState, found: RoutingState) -> None:
    for path in topology_check.PATHS:
        metrics.PATH_BROKEN.labels(path).set(path in found.broken)
    metrics.PATHS_TO_RECOVER.set(len(found.lost_paths))
    if found.checked_at is not None:
        metrics.ROUTING_CHECKED.set(found.checked_at.timestamp())
    if found.whole_at is not None:
        metrics.ROUTING_WHOLE.set(found.whole_at.timestamp())
    if found.missing != was.missing:
        if found.missing:
            reason = f"missing, or not as declared: {'; '.join(found.missing)}"
            log.error("paths are broken: run the release step", extra={"reason": reason})
        else:
            log.warning("every path is complete again")
