"""The tests' own RabbitMQ, Postgres and Redis, from the code that ``make run`` uses.

They live under ``.services/test``. Sessions that run at the same time share the servers and
meet nowhere: each test module has a vhost and a database of its own, each session a Redis
database number. The last session to leave stops them, unless ADRELAY_TEST_SERVICES=keep.
"""

import asyncio
import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import aio_pika
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from yarl import URL

from infra.amqp import declare
from infra.amqp.management_api import ManagementApi
from infra.amqp.permissions import INGRESS_USER, OPS_USER, definitions
from infra.commands.migrate import declare_topology, migrate_database
from infra.deploy.secrets import make_secrets
from infra.deploy.services import postgres, rabbitmq, redis
from infra.deploy.services.directories import CHECKOUT, ServerDirectory
from infra.deploy.services.ports import Ports
from infra.deploy.services.provisioning import start_servers, stop_servers
from infra.deploy.services.threads import run_in_thread
from infra.settings import Settings
from infra.settings.rate_limits import RateLimitSettings
from infra.storage.tables import metadata

PLACE = ServerDirectory(CHECKOUT / ".services" / "test", durable=False)
REDIS_DATABASES = 64
TESTER = "tester"
# The passwords of the broker's users, by vhost.
PASSWORDS: dict[str, dict[str, str]] = {}
TIMEOUT = 30.0  # seconds
# argon2id as weak as it gets: the tests hash often and protect nothing.
CHEAP = {"argon2_memory_kib": 8, "argon2_time": 1, "argon2_parallelism": 1}
# Every test calls from one address, and a benchmark as fast as it can; the limits stay on.
GENEROUS = dict.fromkeys(RateLimitSettings.model_fields, "1000000/second")
GENEROUS |= {name: "100000000000/second" for name in GENEROUS if "bytes" in name}


@dataclass(frozen=True, slots=True)
class Services:
    """The servers of this session, and the number of its Redis database."""

    directory: ServerDirectory
    ports: Ports
    session: str
    redis_database: int

    @property
    def operator(self) -> ManagementApi:
        """The management API as administrator of the tests' broker."""
        return rabbitmq.open_management_api(self.directory, self.ports)

    @property
    def template(self) -> str:
        """The migrated database that every test module's is a copy of."""
        return f"test_{self.session}_template"

    def create_vhost(self, vhost: str) -> None:
        """Make a vhost with the users of an installation, and one who may do anything there.

        The latter may publish in any user's name: it has the tag ``impersonator``.
        """
        operator = self.operator
        operator.import_definitions(definitions(vhost))
        password = self.directory.passwords()["RABBITMQ_OPERATOR_PASSWORD"]
        operator.call("PUT", "users", TESTER, body={"password": password, "tags": "impersonator"})
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        operator.call("PUT", "permissions", vhost, TESTER, body=everything)
        PASSWORDS[vhost] = {**rabbitmq.broker_passwords(self.directory), TESTER: password}

    def rabbitmq_url(self, vhost: str) -> str:
        """Give the URL of a vhost, as the workers' user."""
        return rabbitmq.url(self.directory, self.ports).rpartition("/")[0] + f"/{vhost}"

    def management_url(self) -> str:
        """Give the URL of the management API, for the user of the release step."""
        return rabbitmq.management_url(self.directory, self.ports)

    def database_url(self, database: str) -> str:
        """Give the URL of a database."""
        return postgres.url(self.directory, self.ports, database)

    def redis_url(self) -> str:
        """Give the URL of this session's Redis database."""
        url = redis.url(self.directory, self.ports)
        return url.rpartition("/")[0] + f"/{self.redis_database}"

    def execute(self, statement: str) -> Sequence[Any]:
        """Run one statement as the server's owner."""
        return postgres.execute(self.directory, self.ports, statement)


@contextmanager
def lock(name: str, how: int) -> Iterator[bool]:
    """Hold a lock file of the place; yields whether it was to be had (``LOCK_NB`` asks once)."""
    PLACE.prepare()
    with (PLACE.state / f"{name}.lock").open("a") as file:
        try:
            fcntl.flock(file, how)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def open_services() -> Iterator[Services]:
    """Start the servers, or join the session that has started them, and make the template."""
    with ExitStack() as held:
        with lock("start", fcntl.LOCK_EX):
            alone = _is_alone()
            ports = start_servers(PLACE, {}, print).ports
            held.enter_context(lock("use", fcntl.LOCK_SH))
            number = _redis_database(held)
            services = Services(PLACE, ports, secrets.token_hex(3), number)
            if alone:
                _sweep(services)
            services.execute(f"create database {services.template} owner {postgres.ROLE};")
        run_in_thread(lambda: migrate_database(services.database_url(services.template)))
        try:
            yield services
        finally:
            services.execute(f"drop database {services.template} with (force);")
            held.close()
            leave()


def _is_alone() -> bool:
    with lock("use", fcntl.LOCK_EX | fcntl.LOCK_NB) as alone:
        return alone


def _redis_database(held: ExitStack) -> int:
    for number in range(1, REDIS_DATABASES):
        if held.enter_context(lock(f"redis-{number}", fcntl.LOCK_EX | fcntl.LOCK_NB)):
            return number
    raise RuntimeError("every Redis database of the tests is taken")


def _sweep(services: Services) -> None:
    """Remove what sessions that were killed have left."""
    for vhost in services.operator.list_vhosts():
        if vhost.startswith("test_"):
            services.operator.delete_vhost(vhost)
    for (database,) in services.execute("select datname from pg_database"):
        if database.startswith("test_"):
            services.execute(f"drop database {database} with (force)")


def leave() -> None:
    """Stop the servers if nobody uses them any more."""
    if os.environ.get("ADRELAY_TEST_SERVICES") == "keep":
        return
    with lock("start", fcntl.LOCK_EX), lock("use", fcntl.LOCK_EX | fcntl.LOCK_NB) as alone:
        if alone:
            stop_servers(PLACE)


@contextmanager
def open_settings(services: Services, name: str) -> Iterator[Settings]:
    """Make a fresh vhost and database, declared and migrated, and remove them in the end."""
    own = f"test_{services.session}_{name}"[:60].lower()
    services.create_vhost(own)
    services.execute(f"create database {own} template {services.template} owner {postgres.ROLE};")
    release = url_as(OPS_USER, services.rabbitmq_url(own))
    run_in_thread(lambda: declare_topology(release))
    try:
        yield Settings.model_validate(
            {
                "rabbitmq_url": services.rabbitmq_url(own),
                "ingress_user": INGRESS_USER,
                "database_url": services.database_url(own),
                "rabbitmq_management_url": services.management_url(),
                "redis_url": services.redis_url(),
                **{name.lower(): value for name, value in make_secrets().items()},
                **CHEAP,
                **GENEROUS,
            }
        )
    finally:
        services.execute(f"drop database {own} with (force);")
        services.operator.delete_vhost(own)


def url_as(user: str, url: SecretStr | str) -> str:
    """Give the broker's URL, or each of several, with another user's name and password."""
    text = url if isinstance(url, str) else url.get_secret_value()
    urls = [URL(one) for one in text.split()]
    passwords = PASSWORDS[urls[0].path.strip("/")]
    return " ".join(str(one.with_user(user).with_password(passwords[user])) for one in urls)


def as_user(user: str, settings: Settings) -> Settings:
    """Give the settings of a process that connects to the broker as another user."""
    return settings.model_copy(
        update={"rabbitmq_url": SecretStr(url_as(user, settings.rabbitmq_url))}
    )


def environment(settings: Settings) -> Mapping[str, str]:
    """Write settings as the variables of a worker process."""
    values = {name.upper(): getattr(settings, name) for name in Settings.model_fields}
    plain = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in values.items()
        if value is not None
    }
    return {
        **os.environ,
        **{k: " ".join(v) if isinstance(v, tuple) else str(v) for k, v in plain.items()},
    }


async def clean(settings: Settings) -> None:
    """Empty every table, every queue (streams keep theirs) and the Redis database."""
    async with asyncio.timeout(TIMEOUT):
        await asyncio.gather(_truncate(settings), _purge(settings), _flush(settings))


async def _truncate(settings: Settings) -> None:
    url = make_url(settings.database_url.get_secret_value())
    engine = create_async_engine(url.set(drivername="postgresql+asyncpg"), poolclass=NullPool)
    async with engine.begin() as tx:
        await tx.execute(text(f"truncate {', '.join(metadata.tables)} restart identity cascade"))
    await engine.dispose()


async def _purge(settings: Settings) -> None:
    connection = await aio_pika.connect(url_as(TESTER, settings.rabbitmq_url))
    async with connection, connection.channel() as channel:
        for declared in declare.queues():
            if declared.arguments.get("x-queue-type") != "stream":
                queue = await channel.get_queue(declared.name, ensure=False)
                await queue.purge()


async def _flush(settings: Settings) -> None:
    async with Redis.from_url(settings.redis_url.get_secret_value()) as client:
        await client.flushdb()
