"""Holds the event types whose path to a work queue is broken, as the relay last recorded it.

The result is read from Postgres every ``REFRESH_INTERVAL``. An event of a broken path would reach
no queue, so it is written to the outbox instead of being published. While Postgres is down, the
last known result applies.
"""

import asyncio
import logging

from infra.amqp.message import Message
from infra.amqp.topology_check import blocked_by
from infra.errors import Outage
from infra.messaging.routing_state import get_broken_paths
from infra.web.database import Database

REFRESH_INTERVAL = 2.0  # seconds

log = logging.getLogger(__name__)


class BrokenPaths:
    """Tells which messages must go to the outbox instead of the broker."""

    def __init__(self, database: Database) -> None:
        """Start without broken paths."""
        self._database = database
        self._event_types: frozenset[str] = frozenset()

    def affects(self, message: Message) -> bool:
        """Whether the path of a message is broken. Called for every message."""
        return bool(self._event_types) and message.type in self._event_types

    async def refresh_forever(self) -> None:
        """Refresh every ``REFRESH_INTERVAL`` seconds, until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_INTERVAL)

    async def refresh(self) -> None:
        """Read the broken paths once; keeps the last result when Postgres does not answer."""
        try:
            broken = await self._database.read(get_broken_paths)
        except Outage:
            return
        types = frozenset(blocked_by(broken).types)
        if types != self._event_types:
            log.warning("events of broken paths go to the outbox", extra={"count": len(types)})
        self._event_types = types
