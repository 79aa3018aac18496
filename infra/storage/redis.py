"""The Redis clients of a process."""

import weakref
from collections.abc import Mapping
from typing import Any

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.observability.attributes import DB_CLIENT_CONNECTION_STATE

from infra import metrics
from infra.settings import Settings
from infra.tls import TlsFiles, UnusableTlsFiles, get_tls_context
from infra.tls_errors import describe_closed_connection

MAX_CONNECTIONS = 20
HEALTH_CHECK_INTERVAL = 10  # seconds


class VerifiedConnection(SSLConnection):
    """A connection over TLS whose files are read again when they have changed."""

    def __init__(self, *, files: TlsFiles, **options: Any) -> None:  # noqa: ANN401 - the library's
        """Keep the files; the options are the library's own."""
        super().__init__(**options)
        self._files = files

    async def connect(self) -> None:
        """Connect as the library does; says why where TLS is the reason."""
        try:
            await super().connect()  # type: ignore[no-untyped-call]
        except RedisConnectionError as error:
            if (words := describe_closed_connection(error)) is None:
                raise
            raise RedisConnectionError(words) from error

    async def disconnect(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - the library's
        """Disconnect as the library does, without a wait for the server's end of TLS.

        A transport that waits for it keeps the event loop from closing.
        """
        writer = self._writer
        try:
            await super().disconnect(*args, **options)
        finally:
            if writer is not None:
                writer.transport.abort()

    def _connection_arguments(self) -> Mapping[str, Any]:
        """Give the arguments of ``asyncio.open_connection``; raises the library's error."""
        try:
            return {**super()._connection_arguments(), "ssl": get_tls_context(self._files)}
        except UnusableTlsFiles as error:
            raise RedisConnectionError(str(error)) from error


def open_redis(settings: Settings) -> Redis:
    """Create the client; it connects on first use and never sends a command twice.

    Connects, commands and the wait for a free connection time out after ``redis_timeout`` seconds.
    """
    pool = BlockingConnectionPool.from_url(
        settings.redis_url.get_secret_value(),
        max_connections=MAX_CONNECTIONS,
        timeout=settings.redis_timeout,
        socket_timeout=settings.redis_timeout,
        socket_connect_timeout=settings.redis_timeout,
        retry=Retry(NoBackoff(), 0),
    )
    _use_files(pool, settings)
    _export_pool(pool)
    return Redis.from_pool(pool)


def open_subscriber(settings: Settings) -> Redis:
    """Create a client that waits for notifications as long as it takes."""
    pool = ConnectionPool.from_url(
        settings.redis_url.get_secret_value(),
        socket_connect_timeout=settings.redis_timeout,
        health_check_interval=HEALTH_CHECK_INTERVAL,
    )
    _use_files(pool, settings)
    return Redis.from_pool(pool)


def _use_files(pool: ConnectionPool, settings: Settings) -> None:
    """Connect with the files of the settings; without any, the options of the URL count."""
    if files := settings.tls("redis"):
        pool.connection_class = VerifiedConnection
        pool.connection_kwargs["files"] = files


def _export_pool(pool: BlockingConnectionPool) -> None:
    """Export how many connections are in use and idle."""
    reference = weakref.ref(pool)

    def read() -> tuple[int, int]:
        found = reference()
        counts = [] if found is None else found.get_connection_count()
        states = {about[DB_CLIENT_CONNECTION_STATE]: count for count, about in counts}
        return states.get("used", 0), states.get("idle", 0)

    metrics.REDIS_POOL_CONNECTIONS.watch(pool, read)
