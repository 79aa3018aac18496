"""Writes messages to the outbox with group commit: requests share transactions.

During a broker outage every accepted message goes to the outbox. One transaction for each would
overload Postgres, so all requests that arrive while a transaction runs share the next one.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from itertools import chain

from redis.asyncio import Redis

from infra.amqp.message import Message
from infra.background import BackgroundTasks
from infra.errors import Outage
from infra.messaging import outbox, outbox_keys
from infra.messaging.ordering_key import ordering_key
from infra.web.database import Database

MAX_REQUESTS = 200  # requests in one transaction

log = logging.getLogger(__name__)

Committed = asyncio.Future[bool]


class OutboxWriter:
    """Writes messages to the outbox, for many requests in one transaction."""

    def __init__(self, database: Database, redis: Redis, background: BackgroundTasks) -> None:
        """Start without queued messages."""
        self._database = database
        self._redis = redis
        self._background = background
        self._waiting: deque[tuple[Sequence[Message], Committed]] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def write(self, messages: Sequence[Message]) -> bool:
        """Write messages and commit; returns whether they were committed."""
        committed: Committed = asyncio.get_running_loop().create_future()
        self._waiting.append((messages, committed))
        if self._writing is None or self._writing.done():
            self._writing = self._background.start(self._write_queued(), "outbox writer")
        return await committed

    async def _write_queued(self) -> None:
        while self._waiting:
            count = min(MAX_REQUESTS, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(count)]
            messages = list(chain.from_iterable(messages for messages, _ in batch))
            committed = await self._commit(messages)
            for _, waiter in batch:
                if not waiter.done():
                    waiter.set_result(committed)

    async def _commit(self, messages: Sequence[Message]) -> bool:
        try:
            await self._database.write(outbox.add, messages)
        except Outage:
            return False
        except Exception:
            log.exception("messages could not be written to the outbox")
            return False
        keys = {key for message in messages if (key := ordering_key(message)) is not None}
        await outbox_keys.add_keys(self._redis, keys)
        return True
