"""Every connection over TLS, as a process makes it, with a sentence for each that is not made."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import uvloop

from infra.amqp.connection import BrokerConnection
from infra.amqp.management_api import ManagementApi
from infra.errors import Outage
from infra.redis_errors import REDIS_ERRORS, describe_redis_error
from infra.settings import Settings
from infra.storage.engine import describe_error, open_engine
from infra.storage.redis import open_redis, open_subscriber
from tests.certificates import Authority
from tests.tls_servers import TlsServers

Call = Callable[[Settings], Awaitable[None]]
SERVERS = ("rabbitmq", "database", "redis")


class Files:
    """The files of a client, and the servers that accept them."""

    def __init__(self, servers: TlsServers, folder: Path, authority: Authority) -> None:
        self.servers = servers
        self.authority = authority
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(authority.pem)
        self.other_ca = folder / "other.pem"
        self.other_ca.write_bytes(Authority().pem)
        self.client = authority.sign("client").write(folder, "client")

    def settings(
        self, *, host: str = "localhost", ca: Path | None = None, client: bool = True
    ) -> Settings:
        """Name the files for every server."""
        files = {"ca": str(ca or self.ca)}
        files |= {"cert": self.client[0], "key": self.client[1]} if client else {}
        named = {f"{name}_{kind}_file": file for name in SERVERS for kind, file in files.items()}
        more = {"redis_timeout": 5.0, "broker_timeout": 5.0}
        return Settings.model_validate({**self.servers.urls(host), **named, **more})


async def call_broker(settings: Settings) -> None:
    link = BrokerConnection(settings, "test:tls")
    try:
        await link.open_channel()
    finally:
        await link.close()


async def call_management(settings: Settings) -> None:
    api = ManagementApi.from_settings(settings)
    assert api is not None
    await api.call("GET", "whoami")


async def call_database(settings: Settings) -> None:
    engine = open_engine(settings)
    statement = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
    try:
        async with engine.connect() as connection:
            assert (await connection.exec_driver_sql(statement)).scalar_one() is True
    finally:
        await engine.dispose()


async def call_redis(settings: Settings) -> None:
    async with open_redis(settings) as client:
        await client.ping()


async def listen_to_redis(settings: Settings) -> None:
    async with open_subscriber(settings) as client, client.pubsub() as notifications:
        await notifications.subscribe("channel")
        assert await notifications.get_message(timeout=5) is not None


BROKER: Mapping[str, Call] = {"broker": call_broker, "management API": call_management}
STORAGE: Mapping[str, Call] = {
    "database": call_database,
    "Redis": call_redis,
    "notifications": listen_to_redis,
}


def find_failures(calls: Mapping[str, Call], settings: Settings) -> dict[str, str]:
    """Say for each call why it fails, on the event loop of a process; empty if none does."""

    async def run() -> dict[str, str]:
        return {name: text for name, call in calls.items() if (text := await _try(call, settings))}

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


async def _try(call: Call, settings: Settings) -> str | None:
    try:
        await call(settings)
    except Outage as error:
        return str(error)
    except REDIS_ERRORS as error:
        words = describe_redis_error(error)
        return words if "TLS" in words else str(error)
    except Exception as error:  # noqa: BLE001 - SQLAlchemy's and asyncpg's
        return describe_error(error)
    return None
