"""What a process holds open: one frozen value, built in one place, passed as an argument."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp.publisher import Publisher
from infra.background import BackgroundTasks
from infra.platforms import PLATFORMS, AdPlatform, open_platforms
from infra.platforms.oauth import OAuthClient, open_oauth_clients
from infra.security.keyring import Keyring
from infra.security.passwords import Passwords
from infra.settings import Settings
from infra.storage.engine import describe_error, open_engine
from infra.storage.pause_registry import PauseRegistry
from infra.storage.publisher_registry import PublisherRegistry
from infra.storage.redis import open_redis
from infra.storage.write_probe import write_probe
from infra.tracing import Tracer, open_tracer
from schemas import types

PROBE_TIMEOUT = 3.0  # seconds
REDIS_PROBE = "adrelay:write-probe"


@dataclass(frozen=True, slots=True)
class Resources:
    """Connections and clients of a process. Nothing here is a transaction."""

    settings: Settings
    engine: AsyncEngine
    redis: Redis
    publisher: Publisher
    platforms: Mapping[str, AdPlatform]
    oauth_clients: Mapping[types.Platform, OAuthClient]
    passwords: Passwords
    keys: Keyring
    publishers: PublisherRegistry
    pauses: PauseRegistry
    background: BackgroundTasks
    tracer: Tracer | None = None  # None: traces are off


@asynccontextmanager
async def open_resources(settings: Settings, name: str) -> AsyncIterator[Resources]:
    """Build everything that the process called ``name`` needs, and close it in the end."""
    engine = open_engine(settings)
    redis = open_redis(settings)
    background = BackgroundTasks()
    async with (
        open_tracer(settings, name) as tracer,
        Publisher(settings, name, background, tracer) as publisher,
        open_platforms(settings, tracer) as platforms,
        open_oauth_clients(settings, PLATFORMS, tracer) as oauth_clients,
    ):
        passwords = Passwords(settings)
        try:
            yield Resources(
                settings,
                engine,
                redis,
                publisher,
                platforms,
                oauth_clients,
                passwords,
                Keyring(settings, redis),
                PublisherRegistry(engine),
                PauseRegistry(engine),
                background,
                tracer,
            )
        finally:
            await redis.aclose()
            await engine.dispose()


async def healthy(resources: Resources, *, redis: bool = False) -> bool:
    """Tell whether the database takes a write, and Redis where that is asked for."""
    return await find_trouble(resources, redis=redis) is None


async def find_trouble(resources: Resources, *, redis: bool = False) -> str | None:
    """Say why the database (and Redis where asked for) takes no write; None when it does."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            async with resources.engine.begin() as tx:
                await write_probe(tx)
            if redis:
                await resources.redis.set(REDIS_PROBE, 1, ex=60)
    except (SQLAlchemyError, RedisError, OSError) as error:
        return describe_error(error)
    return None
