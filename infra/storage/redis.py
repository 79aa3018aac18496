"""The Redis client of a process."""

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

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
    return Redis.from_pool(pool)
