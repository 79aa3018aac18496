"""Which paths are broken, as the relay saw it last: read from Postgres every few seconds.

Events of a broken path are not published, where they would reach nobody, but kept in the outbox.
While Postgres is gone, what was known last still counts.
"""

import asyncio
import logging

from sqlalchemy.ext.asyncio import AsyncConnection

from infra.amqp.message import Message
from infra.amqp.topology_check import BlockedPaths, blocked_by
from infra.errors import Outage
from infra.messaging.routing_state import get_broken_paths
from workers.ingress.backends.database import Database

REFRESH_INTERVAL = 2.0  # seconds

log = logging.getLogger(__name__)


class BrokenPaths:
    """Tells which messages are not to be published now."""

    def __init__(self, database: Database) -> None:
        """Begin with all paths whole."""
        self._database = database
        self._event_types: frozenset[str] = frozenset()

    def affects(self, message: Message) -> bool:
        """Whether the path of a message is broken; this is asked of every message."""
        return bool(self._event_types) and message.type in self._event_types

    async def refresh_forever(self) -> None:
        """Look for ever."""
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_INTERVAL)

    async def refresh(self) -> None:
        """Look once; keeps what is known when Postgres does not answer."""
        try:
            blocked = await self._database.read(_find_blocked)
        except Outage:
            return
        types = frozenset(blocked.types)
        if types != self._event_types:
            log.warning("event types go to the outbox", extra={"count": len(types)})
        self._event_types = types


async def _find_blocked(tx: AsyncConnection) -> BlockedPaths:
    return blocked_by(await get_broken_paths(tx))
