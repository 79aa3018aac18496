"""What has to wait its turn: a command behind earlier ones of its campaign in the outbox.

Many requests share a look at the database, as they share its transactions.
"""

import asyncio
import logging
from collections.abc import Collection

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.background import BackgroundTasks
from infra.errors import Outage
from infra.messaging import outbox, outbox_keys
from workers.ingress.backends.database import Database

QueuedKeys = asyncio.Future[set[str]]

log = logging.getLogger(__name__)


class CommandOrder:
    """Tells which ordering keys have rows in the outbox."""

    def __init__(self, database: Database, redis: Redis, background: BackgroundTasks) -> None:
        """Begin with nobody asking."""
        self._database = database
        self._redis = redis
        self._background = background
        self._requests: list[tuple[Collection[str], QueuedKeys]] = []
        self._query_task: asyncio.Task[None] | None = None

    async def restore(self) -> None:
        """Enter in Redis what waits in the outbox, if Redis does not know it; never raises."""

        async def enter(tx: AsyncConnection) -> None:
            await outbox_keys.restore(tx, self._redis)

        try:
            await self._database.read(enter)
        except Outage:
            log.warning("Redis is not told what waits in the outbox")

    async def find_queued(self, keys: Collection[str]) -> set[str]:
        """Tell which of these keys have rows; raises ``Outage`` when nothing can tell.

        Postgres is asked, which cannot be wrong; while it is gone Redis is, as long as it is
        certain to know all of them.
        """
        looked: QueuedKeys = asyncio.get_running_loop().create_future()
        self._requests.append((keys, looked))
        if self._query_task is None or self._query_task.done():
            self._query_task = self._background.start(
                self._answer_requests(), "looking at the outbox"
            )
        return await looked

    async def _answer_requests(self) -> None:
        while self._requests:
            asking, self._requests = self._requests, []
            wanted = {key for keys, _ in asking for key in keys}
            found: set[str] | BaseException
            try:
                found = await self._query(wanted)
            except Exception as error:  # noqa: BLE001 - those who ask shall know
                found = error
            for keys, looked in asking:
                if looked.done():
                    continue
                if isinstance(found, BaseException):
                    looked.set_exception(Outage(f"the outbox is not known: {found}"))
                else:
                    looked.set_result(found.intersection(keys))

    async def _query(self, keys: Collection[str]) -> set[str]:
        async def look(tx: AsyncConnection) -> set[str]:
            return await outbox.waiting(tx, keys)

        try:
            return await self._database.read(look)
        except Outage:
            return await outbox_keys.noted(self._redis, keys)
