"""The release step: brings the database and the broker up to date.

Safe to repeat, to run twice at once, and while the processes of the release before work: the
scripts run one by one under a lock of the database, and declaring what exists already changes
nothing. It waits for servers that are still starting. Exit status 0 done, 1 refused or not
reachable.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Awaitable, Callable
from urllib.parse import unquote, urlsplit

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AMQPChannelError,
    ChannelPreconditionFailed,
)
from aiormq.exceptions import ConnectionInternalError
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from infra.amqp import topology_declaration
from infra.amqp.connection import get_broker_context
from infra.amqp.management_api import ManagementApi
from infra.amqp.policies import LogRetention, get_log_retention
from infra.commands.database_migration import (
    CONNECT_TIMEOUT,
    MigrationGivenUp,
    migrate_database,
)
from infra.commands.release_wait import wait_for_release
from infra.errors import Outage
from infra.messaging.topology_monitor import check_once
from infra.settings import Settings, load_settings
from infra.storage.engine import open_engine
from infra.tls import NO_TLS_FILES, TlsFiles
from infra.tls_errors import describe_tls_error

RELEASE_TIMEOUT = 60.0  # seconds that servers may take to start
RETRY_INTERVAL = 0.5  # seconds between two tries
NO_POLICIES = (
    "RABBITMQ_MANAGEMENT_URL is not set, so the broker's policies stay as they are: without the"
    " policy adrelay-event-log the event log grows until the disk is full. Import the output of"
    " adrelay broker permissions --part resources (rabbitmqctl import_definitions FILE)"
)
CANNOT_CONNECT_NOW = "57P03"  # SQLSTATE of a Postgres that still starts


class ReleaseRefused(Exception):
    """The release cannot go on; the message says what a person has to do."""


async def connect(urls: str, tls: TlsFiles = NO_TLS_FILES) -> AbstractConnection:
    """Connect to the first broker of ``urls`` (separated by spaces) that answers.

    Raises what the last of them raised: ``OSError``, ``TimeoutError`` or what aio-pika has.
    """
    *others, last = urls.split()
    for url in others:
        with contextlib.suppress(OSError, TimeoutError, *CONNECTION_EXCEPTIONS):
            return await _connect_to(url, tls)
    return await _connect_to(last, tls)


async def _connect_to(url: str, tls: TlsFiles) -> AbstractConnection:
    context = get_broker_context(tls)
    return await aio_pika.connect(url, timeout=CONNECT_TIMEOUT, ssl_context=context)


async def declare_topology(urls: str, tls: TlsFiles = NO_TLS_FILES) -> None:
    """Declare every exchange and queue on the broker at ``urls``, any member of a cluster.

    Raises ``ReleaseRefused`` when one exists with other arguments, ``OSError`` or ``TimeoutError``
    when no member answers.
    """
    connection = await connect(urls, tls)
    try:
        await topology_declaration.declare(connection)
    except ChannelPreconditionFailed as error:
        raise ReleaseRefused(
            f"the broker has it with other arguments: {error}. Names keep their kind: give "
            "the new kind a new name in infra/amqp/topology.py, or, when its messages are not "
            "needed, delete the old one (rabbitmqctl delete_queue NAME)"
        ) from error
    except ConnectionInternalError as error:
        raise ReleaseRefused(
            f"the broker fails at it ({error}). RabbitMQ 4.0.0 to 4.1.3 with Khepri does where "
            "topic permissions were imported before the exchanges: upgrade it, or import into a "
            "fresh vhost in two steps (adrelay broker permissions --part resources, then "
            "--part permissions)"
        ) from error
    except AMQPChannelError as error:
        raise ReleaseRefused(f"the broker does not declare it: {error}") from error
    finally:
        await connection.close()


async def _retry_while_starting(
    what: str, step: Callable[[], Awaitable[None]], until: float
) -> None:
    """Repeat ``step`` while its server is not up yet; ``until`` is a ``time.monotonic()``."""
    while True:
        try:
            return await step()
        except ReleaseRefused:
            raise
        except MigrationGivenUp as error:
            raise ReleaseRefused(f"{what}: {error}") from error
        except (OSError, TimeoutError, *CONNECTION_EXCEPTIONS, DBAPIError) as error:
            if not _is_starting(error):
                words = describe_tls_error(error) or str(error)
                raise ReleaseRefused(f"{what} refuses: {words}") from error
            if time.monotonic() > until:
                raise ReleaseRefused(f"{what} cannot be reached: {error or type(error)}") from error
        await asyncio.sleep(RETRY_INTERVAL)


def _is_starting(error: Exception) -> bool:
    if isinstance(error, DBAPIError):
        return getattr(error.orig, "sqlstate", None) == CANNOT_CONNECT_NOW
    return isinstance(error, (OSError, TimeoutError)) and describe_tls_error(error) is None


async def record_paths(settings: Settings) -> None:
    """Note which paths are broken; a broker that cannot say so yet is no obstacle."""
    engine = open_engine(settings)
    try:
        await check_once(settings, engine)
    except (Outage, OSError, DBAPIError) as error:
        sys.stderr.write(f"the paths to the queues are not known: {error}\n")
    finally:
        await engine.dispose()


async def release(settings: Settings, wait_seconds: float = RELEASE_TIMEOUT) -> None:
    """Migrate and declare; wait at most ``wait_seconds`` for both servers.

    Raises ``ReleaseRefused`` with a sentence for the person who releases.
    """
    until = time.monotonic() + wait_seconds
    database = settings.database_url.get_secret_value()
    await _retry_while_starting(
        "the database", lambda: migrate_database(database, settings.tls("database")), until
    )
    broker = settings.rabbitmq_url.get_secret_value()
    await record_paths(settings)  # what is missing now is about to be there again
    await _retry_while_starting(
        "the broker", lambda: declare_topology(broker, settings.tls("rabbitmq")), until
    )
    management = ManagementApi.from_settings(settings)
    if management is not None:
        vhost = unquote(urlsplit(broker.split()[0]).path.removeprefix("/")) or "/"
        await _set_policies(management, vhost, get_log_retention(settings))
        await record_paths(settings)
    else:
        sys.stderr.write(f"{NO_POLICIES}\n")


async def _set_policies(management: ManagementApi, vhost: str, retention: LogRetention) -> None:
    try:
        await management.set_policies(vhost, retention)
    except OSError as error:
        raise ReleaseRefused(
            f"the broker's management API does not take our policies: {error}"
        ) from error


def main(*, only_wait: bool = False) -> int:
    """Run the release step, or wait for it; the exit status says whether the workers may start."""
    if only_wait:
        asyncio.run(wait_for_release(load_settings()))
        return 0
    try:
        asyncio.run(release(load_settings("release")))
    except (ReleaseRefused, ValidationError, Outage) as error:
        sys.stderr.write(f"release refused: {error}\n")
        return 1
    return 0
