"""Empties the servers between two tests: every table, every queue and the Redis database."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

import aiormq
import asyncpg
from aiormq.abc import AbstractChannel
from redis.asyncio import Redis

from infra.amqp import topology_declaration
from infra.settings import Settings
from infra.storage.tables import metadata
from tests.services import TESTER, url_as

TIMEOUT = 30.0  # seconds
# Deletes from the tables that have rows: a truncate replaces the files of every table and index,
# which takes thirty times as long (0.15 s).
DELETE_ROWS = """
do $$ declare name text; has_rows boolean; begin
lock table {tables} in access exclusive mode;
foreach name in array array[{names}] loop
  execute format('select exists (select from %I)', name) into has_rows;
  if has_rows then execute format('delete from %I', name); end if;
end loop;
for name in select sequencename from pg_sequences
  where schemaname = 'public' and last_value is not null loop
  execute format('alter sequence %I restart', name);
end loop;
end $$
""".format(  # noqa: S608 - our own tables
    tables=", ".join(metadata.tables),
    names=", ".join(f"'{table.name}'" for table in reversed(metadata.sorted_tables)),
)
# Streams keep what they hold.
QUEUES = [
    queue.name
    for queue in topology_declaration.queues()
    if queue.arguments.get("x-queue-type") != "stream"
]


# What using a connection raises that a test has broken.
CLOSED = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    aiormq.AMQPError,
)


class Cleaner:
    """Connections to a module's servers, kept from test to test, on a loop and thread of its own.

    The loop runs while it cleans and at no other time.
    """

    def __init__(self, settings: Settings) -> None:
        """Prepare; nothing is open yet."""
        self._settings = settings
        self._thread = ThreadPoolExecutor(1)
        self._runner = asyncio.Runner()
        self._open = AsyncExitStack()
        self._channel: AbstractChannel | None = None
        self._postgres: asyncpg.Connection[Any] | None = None
        self._redis: Redis | None = None

    def clean(self) -> None:
        """Empty everything; connections that a test has broken are opened again."""
        try:
            self._run(self._clean)
        except CLOSED:
            self._run(self._close)
            self._run(self._clean)

    def close(self) -> None:
        """Close the connections and end the thread."""
        self._run(self._close)
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()

    def _run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._thread.submit(lambda: self._runner.run(work())).result()

    async def _clean(self) -> None:
        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(self._delete_rows(), self._purge(), self._flush())

    async def _delete_rows(self) -> None:
        if self._postgres is None:
            self._postgres = await asyncpg.connect(self._settings.database_url.get_secret_value())
            self._open.push_async_callback(self._postgres.close, timeout=TIMEOUT)
        await self._postgres.execute(DELETE_ROWS)

    async def _purge(self) -> None:
        if self._channel is None:
            url = url_as(TESTER, self._settings.rabbitmq_url)
            connection = await aiormq.connect(f"{url}?heartbeat=0")
            self._open.push_async_callback(connection.close)
            self._channel = await connection.channel()
        for name in QUEUES[1:]:
            await self._channel.queue_purge(name, nowait=True)
        await self._channel.queue_purge(QUEUES[0])  # answered when all are empty

    async def _flush(self) -> None:
        if self._redis is None:
            self._redis = Redis.from_url(self._settings.redis_url.get_secret_value())
            self._open.push_async_callback(self._redis.aclose)
        await self._redis.flushdb()

    async def _close(self) -> None:
        self._channel = self._postgres = self._redis = None
        await self._open.aclose()
