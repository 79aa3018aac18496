"""The tests' own RabbitMQ, Postgres and Redis, from the code that ``make run`` uses.

They live under ``.services/test``. Sessions that run at the same time (each worker of pytest-xdist
is one) share the servers and nothing else: each session has a number, which is its Redis database
and part of the names of its vhosts and databases. Its test modules use one of each in turn.
The last session to end stops the servers, unless ADRELAY_TEST_SERVICES=keep.
"""

import base64
import fcntl
import hashlib
import hmac
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from pydantic import SecretStr
from yarl import URL

from infra.amqp.management_api import IMPORT_TIMEOUT
from infra.amqp.permissions import (
    CONSOLE_USER,
    INGRESS_USER,
    OPS_USER,
    WORKERS_USER,
    definitions,
)
from infra.commands.database_migration import migrate_database
from infra.commands.migrate import ReleaseRefused, declare_topology
from infra.deploy.secrets import make_secrets
from infra.deploy.services import postgres, rabbitmq, redis
from infra.deploy.services.blocking_management_api import BlockingManagementApi
from infra.deploy.services.directories import CHECKOUT, ServerDirectory
from infra.deploy.services.ports import Ports
from infra.deploy.services.provisioning import start_servers, stop_servers
from infra.deploy.services.threads import run_in_thread
from infra.settings import Settings
from infra.settings.rate_limits import RateLimitSettings
from infra.storage.migrations import SCRIPTS

PLACE = ServerDirectory(CHECKOUT / ".services" / "test", durable=False)
REDIS_DATABASES = 64
TEMPLATES = "test_template_"
TESTER = "tester"
# A starved broker may elect no leader for a new quorum queue in its time, and never for that name.
NOT_FORMED = "cluster_not_formed"
ATTEMPTS = 3
# The passwords of the broker's users, by vhost.
PASSWORDS: dict[str, dict[str, str]] = {}
# argon2id as weak as it gets: the tests hash often and protect nothing.
CHEAP = {"argon2_memory_kib": 8, "argon2_time": 1, "argon2_parallelism": 1}
# Every test calls from one address, and a benchmark as fast as it can; the limits stay on.
GENEROUS = dict.fromkeys(RateLimitSettings.model_fields, "1000000/second")
GENEROUS |= {name: "100000000000/second" for name in GENEROUS if "bytes" in name}


@dataclass(frozen=True, slots=True)
class Services:
    """The servers, and what tells this session from others: its number and its names."""

    directory: ServerDirectory
    ports: Ports
    session: str
    redis_database: int

    @property
    def operator(self) -> BlockingManagementApi:
        """The management API as administrator of the tests' broker."""
        return rabbitmq.open_management_api(self.directory, self.ports)

    @property
    def template(self) -> str:
        """The migrated database that every test module's is a copy of, named after its scripts."""
        return f"{TEMPLATES}{_digest_migrations()}"

    def create_vhost(self, vhost: str, content: dict[str, Any] | None = None) -> None:
        """Make a vhost with the users of an installation, and one who may do anything there.

        The latter may publish in any user's name: it has the tag ``impersonator``. Definitions
        other than this release's are given as ``content``.
        """
        operator = self.operator
        operator.import_definitions(content or definitions(vhost))
        password = self.directory.passwords()["RABBITMQ_OPERATOR_PASSWORD"]
        tester = {"password": password, "tags": "impersonator"}
        operator.call("PUT", "users", TESTER, body=tester, timeout=IMPORT_TIMEOUT)
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        operator.call("PUT", "permissions", vhost, TESTER, body=everything, timeout=IMPORT_TIMEOUT)
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
    """Start the servers, or join the sessions that use them, and make the template."""
    with ExitStack() as held:
        with lock("start", fcntl.LOCK_EX):
            is_alone = _is_alone()
            ports = start_servers(PLACE, {}, print).ports
            held.enter_context(lock("use", fcntl.LOCK_SH))
            number = _take_number(held)
            services = Services(PLACE, ports, str(number), number)
            weaken_password(services)
            _sweep(services)
            if is_alone:
                _drop_old_templates(services)
            make_template(services)
        try:
            yield services
        finally:
            held.close()
            leave()


@contextmanager
def keep_services() -> Iterator[None]:
    """Keep the servers, once a session has started them, until the end of the block."""
    with lock("start", fcntl.LOCK_EX), ExitStack() as held:
        held.enter_context(lock("use", fcntl.LOCK_SH))
        using = held.pop_all()
    try:
        yield
    finally:
        using.close()
        leave()


def weaken_password(services: Services) -> None:
    """Store the verifier of the workers' password with one iteration instead of 4096.

    Every test connects; its hash took half of the time (RFC 5802, section 3; the form of the
    verifier is that of PostgreSQL's ``pg_authid``).
    """
    password, salt = services.directory.passwords()["DATABASE_PASSWORD"].encode(), b"adrelay"
    salted = hashlib.pbkdf2_hmac("sha256", password, salt, 1)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    keys = hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored, server = (base64.b64encode(value).decode() for value in (salt, *keys))
    # SQLAlchemy takes a bare colon for the beginning of a parameter.
    verifier = rf"SCRAM-SHA-256$1\:{salt64}${stored}\:{server}"
    services.execute(f"alter role {postgres.ROLE} password '{verifier}'")


def _is_alone() -> bool:
    with lock("use", fcntl.LOCK_EX | fcntl.LOCK_NB) as alone:
        return alone


def _take_number(held: ExitStack) -> int:
    for number in range(1, REDIS_DATABASES):
        if held.enter_context(lock(f"redis-{number}", fcntl.LOCK_EX | fcntl.LOCK_NB)):
            return number
    raise RuntimeError("every Redis database of the tests is taken")


def _sweep(services: Services) -> None:
    """Remove what a session of the same number has left that was killed."""
    own = f"test_{services.session}_"
    for vhost in services.operator.list_vhosts():
        if vhost.startswith(own):
            services.operator.delete_vhost(vhost)
    for database in _databases(services):
        if database.startswith(own):
            services.execute(f"drop database {database} with (force)")


@cache
def _digest_migrations() -> str:
    scripts = b"".join(file.read_bytes() for file in sorted(SCRIPTS.rglob("*.py")))
    return hashlib.sha256(scripts).hexdigest()[:12]


def _databases(services: Services) -> list[str]:
    return [name for (name,) in services.execute("select datname from pg_database")]


def _drop_old_templates(services: Services) -> None:
    for database in _databases(services):
        if database.startswith(TEMPLATES) and database != services.template:
            services.execute(f"drop database {database} with (force)")


def make_template(services: Services) -> None:
    """Make the migrated database, unless it exists: under another name until it is complete."""
    template = services.template
    if template in _databases(services):
        return
    draft = f"{template}_draft"
    services.execute(f"drop database if exists {draft} with (force)")
    services.execute(f"create database {draft} owner {postgres.ROLE}")
    run_in_thread(lambda: migrate_database(services.database_url(draft)))
    services.execute(f"alter database {draft} rename to {template}")


def leave() -> None:
    """Stop the servers if no session uses them."""
    if os.environ.get("ADRELAY_TEST_SERVICES") == "keep":
        return
    with lock("start", fcntl.LOCK_EX), lock("use", fcntl.LOCK_EX | fcntl.LOCK_NB) as alone:
        if alone:
            stop_servers(PLACE)


@contextmanager
def open_settings(services: Services, name: str) -> Iterator[Settings]:
    """Make a fresh vhost and database, declared and migrated, and remove them in the end."""
    own = f"test_{services.session}_{name}"[:60].lower()
    with ExitStack() as held:
        for attempt in range(1, ATTEMPTS + 1):
            vhost = own if attempt == 1 else f"{own}_{attempt}"
            services.create_vhost(vhost)
            held.callback(services.operator.delete_vhost, vhost)
            try:
                run_in_thread(
                    partial(declare_topology, url_as(OPS_USER, services.rabbitmq_url(vhost)))
                )
                break
            except ReleaseRefused as error:
                if NOT_FORMED not in str(error) or attempt == ATTEMPTS:
                    raise
        services.execute(
            f"create database {own} template {services.template} owner {postgres.ROLE};"
        )
        held.callback(services.execute, f"drop database {own} with (force);")
        yield make_settings(services, vhost, own)


def make_settings(services: Services, vhost: str, database: str | None = None) -> Settings:
    """Make the settings of a vhost and a database (of its name), with secrets of their own."""
    return Settings.model_validate(
        {
            "rabbitmq_url": services.rabbitmq_url(vhost),
            "ingress_user": f"{INGRESS_USER} {CONSOLE_USER}",
            "workers_user": WORKERS_USER,
            "database_url": services.database_url(database or vhost),
            "rabbitmq_management_url": services.management_url(),
            "redis_url": services.redis_url(),
            "process_urls": "web=http://127.0.0.1:1",  # no other system of this machine
            **{name.lower(): value for name, value in make_secrets().items()},
            **CHEAP,
            **GENEROUS,
        }
    )


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
    return {**os.environ, **{name: _write(value) for name, value in plain.items()}}


def _write(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(value)
    if isinstance(value, dict):  # levels of loggers
        return ",".join(f"{name}={logging.getLevelName(one)}" for name, one in value.items())
    return str(value)
