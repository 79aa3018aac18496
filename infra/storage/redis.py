"""The Redis client of a process."""

import weakref

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.observability.attributes import DB_CLIENT_CONNECTION_STATE

from infra import metrics
from infra.settings import Settings

MAX_CONNECTIONS = 20


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
    _export_pool(pool)
    return Redis.from_pool(pool)


def _export_pool(pool: BlockingConnectionPool) -> None:
    """Export how many connections are in use and idle."""
    reference = weakref.ref(pool)

    def read() -> tuple[int, int]:
        found = reference()
        counts = [] if found is None else found.get_connection_count()
        states = {about[DB_CLIENT_CONNECTION_STATE]: count for count, about in counts}
        return states.get("used", 0), states.get("idle", 0)

    metrics.REDIS_POOL_CONNECTIONS.watch(pool, read)
