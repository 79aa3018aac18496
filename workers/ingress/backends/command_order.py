"""Finds campaigns with commands in the outbox: later commands must not overtake those.

Requests that arrive while a query runs share the next query.
"""

import asyncio
import logging
from collections.abc import Collection

from redis.asyncio import Redis

from infra.background import BackgroundTasks
from infra.errors import Outage
from infra.messaging import outbox, outbox_keys
from infra.web.database import Database

QueuedKeys = asyncio.Future[set[str]]

log = logging.getLogger(__name__)


class CommandOrder:
    """Finds the ordering keys that have rows in the outbox, for many requests in one query."""

    def __init__(self, database: Database, redis: Redis, background: BackgroundTasks) -> None:
        """Start without requests."""
        self._database = database
        self._redis = redis
        self._background = background
        self._requests: list[tuple[Collection[str], QueuedKeys]] = []
        self._query_task: asyncio.Task[None] | None = None

    async def restore(self) -> None:
        """Copy the ordering keys of the outbox to Redis if they are not there; never raises."""
        try:
            await self._database.read(outbox_keys.restore_keys, self._redis)
        except Outage:
            log.warning("the ordering keys of the outbox were not copied to Redis")

    async def find_queued(self, keys: Collection[str]) -> set[str]:
        """Return those of these ordering keys that have rows in the outbox.

        Postgres is authoritative. While it is down, Redis is used, provided that it is known to
        hold all keys. Raises ``Outage`` when neither can answer.
        """
        waiter: QueuedKeys = asyncio.get_running_loop().create_future()
        self._requests.append((keys, waiter))
        if self._query_task is None or self._query_task.done():
            self._query_task = self._background.start(
                self._answer_requests(), "find queued commands"
            )
        return await waiter

    async def _answer_requests(self) -> None:
        while self._requests:
            requests, self._requests = self._requests, []
            all_keys = {key for keys, _ in requests for key in keys}
            found: set[str] | BaseException
            try:
                found = await self._query(all_keys)
            except Exception as error:  # noqa: BLE001 - passed on to the requests
                found = error
            for keys, waiter in requests:
                if waiter.done():
                    continue
                if isinstance(found, BaseException):
                    waiter.set_exception(Outage(f"the outbox could not be read: {found}"))
                else:
                    waiter.set_result(found.intersection(keys))

    async def _query(self, keys: Collection[str]) -> set[str]:
        try:
            return await self._database.read(outbox.find_waiting_keys, keys)
        except Outage:
            return await outbox_keys.find_keys(self._redis, keys)
