"""The outbox as the ingress fills it: whatever arrives while one transaction runs shares the next.

During an outage of the broker every accepted message comes here; a transaction for each
would make Postgres the next to give in.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from itertools import chain

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.amqp.message import Message
from infra.background import BackgroundTasks
from infra.errors import Outage
from infra.messaging import outbox, outbox_keys
from infra.messaging.ordering_key import ordering_key
from workers.ingress.backends.database import Database

MAX_REQUESTS = 200  # requests in one transaction

log = logging.getLogger(__name__)

Committed = asyncio.Future[bool]


class OutboxWriter:
    """Writes messages to the outbox, many requests at a time."""

    def __init__(self, database: Database, redis: Redis, background: BackgroundTasks) -> None:
        """Begin with nothing to write."""
        self._database = database
        self._redis = redis
        self._background = background
        self._waiting: deque[tuple[Sequence[Message], Committed]] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def write(self, messages: Sequence[Message]) -> bool:
        """Write messages and commit; tells whether they are kept."""
        kept: Committed = asyncio.get_running_loop().create_future()
        self._waiting.append((messages, kept))
        if self._writing is None or self._writing.done():
            self._writing = self._background.start(self._write_queued(), "outbox writer")
        return await kept

    async def _write_queued(self) -> None:
        while self._waiting:
            count = min(MAX_REQUESTS, len(self._waiting))
            taken = [self._waiting.popleft() for _ in range(count)]
            messages = list(chain.from_iterable(messages for messages, _ in taken))
            kept = await self._commit(messages)
            for _, waiter in taken:
                if not waiter.done():
                    waiter.set_result(kept)

    async def _commit(self, messages: Sequence[Message]) -> bool:
        async def add(tx: AsyncConnection) -> None:
            await outbox.add(tx, messages)

        try:
            await self._database.write(add)
        except Outage:
            return False
        except Exception:
            log.exception("the outbox cannot be written")
            return False
        keys = {key for message in messages if (key := ordering_key(message)) is not None}
        await outbox_keys.note(self._redis, keys)
        return True
