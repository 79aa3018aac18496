"""A connection to the broker that comes back, trying the brokers that it knows in turn.

Connections are plain ones (no "robust" ones: those declare again what an operator removed
and know one URL only): a ``BrokerConnection`` reconnects when asked for a channel. A member of a
cluster that is dead costs no caller anything while another one answers.
"""

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import Awaitable
from typing import TypeVar, cast

import aiormq
from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel
from yarl import URL

from infra.amqp import client_library
from infra.amqp.delivery_parser import DeliveryParser
from infra.amqp.intercepting_reader import InterceptingTransport
from infra.errors import Outage
from infra.settings import Settings
from infra.tls import TlsFiles, UnusableTlsFiles, get_tls_context
from infra.tls_errors import describe_closed_connection

T = TypeVar("T")

# What aiormq and the socket raise when a channel or a connection is gone.
CONNECTION_ERRORS = (aiormq.exceptions.AMQPError, ConnectionError, OSError, RuntimeError)
CLOSE_TIMEOUT = 3.0  # seconds

log = logging.getLogger(__name__)


async def with_broker_timeout(call: Awaitable[T], timeout: float) -> T:  # noqa: ASYNC109 - it is this function's whole point
    """Await the broker for ``timeout`` seconds at most; raises ``Outage`` when it is gone.

    aiormq cancels waiting callers when it declares a connection stuck; such a
    cancellation that nobody asked for is an outage too.
    """
    try:
        async with asyncio.timeout(timeout):
            return await call
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise Outage("the connection to the broker is stuck") from None
    except Exception as error:
        # aiormq raises the bare class to who waits on a channel that closes without a reason.
        if isinstance(error, CONNECTION_ERRORS) or type(error) is Exception:
            raise Outage(_in_words(error)) from error
        raise


def _in_words(error: BaseException) -> str:
    # What the broker says when it closes a channel names the queue or exchange at fault, and
    # so it does where a queue of another kind costs the connection.
    if isinstance(error, aiormq.exceptions.AMQPChannelError | aiormq.exceptions.ConnectionClosed):
        return f"the broker refuses: {error}"
    return f"the broker is gone: {type(error).__name__}"


def get_broker_context(files: TlsFiles) -> ssl.SSLContext | None:
    """Give the context of ``amqps://``; None leaves it to the options of the URL.

    Raises ``Outage`` when a file cannot be used now.
    """
    try:
        return get_tls_context(files) if files else None
    except UnusableTlsFiles as error:
        raise Outage(str(error)) from error


class BrokerConnection:
    """One connection to the broker that is opened again whenever a channel is wanted."""

    def __init__(self, settings: Settings, name: str) -> None:
        """Remember where to connect; ``name`` is what the broker shows for the connection.

        Raises ``UntestedClientLibrary`` where another aiormq is installed than was tested.
        """
        client_library.check_version()
        query = {"heartbeat": str(settings.heartbeat)}
        urls = settings.rabbitmq_url.get_secret_value().split()
        self._urls = [URL(url).update_query(query) for url in urls]
        random.shuffle(self._urls)
        self._name = name
        self._tls = settings.tls("rabbitmq")
        self._timeout = settings.broker_timeout
        self._lock = asyncio.Lock()
        self._connection: AbstractConnection | None = None
        self._keep = settings.max_event_bytes
        self._tap = DeliveryParser()

    async def open_consumer_channel(
        self, *, confirms: bool = False
    ) -> tuple[Channel, DeliveryParser]:
        """Open a channel to consume on, and the tap of its connection; raises ``Outage``.

        Consumers that the tap does not know get nothing.
        """
        while True:
            channel = await self.open_channel(confirms=confirms)
            # Another caller may have connected again in the meantime.
            if not channel.is_closed:
                return channel, self._tap

    async def open_channel(self, *, confirms: bool = False) -> Channel:
        """Open a channel of the client library's lower layer (aiormq).

        Raises ``Outage`` when no broker answers in time.
        """
        async with self._lock:
            try:
                return await self._open(confirms)
            except Outage:
                # It may look open and be dead: the next caller gets a fresh one.
                await self.close()
                raise

    async def _open(self, confirms: bool) -> Channel:  # noqa: FBT001 - passed on as it came
        connection = client_library.get_aiormq_connection(self._connection)
        if connection is None:
            await self.close()
            self._connection = await self._connect()
            connection = client_library.get_aiormq_connection(self._connection)
        if connection is None:
            raise Outage("the broker closed the connection")
        opening = connection.channel(publisher_confirms=confirms)
        return cast("Channel", await with_broker_timeout(opening, self._timeout))

    async def _connect(self) -> AbstractConnection:
        """Connect to the first broker that answers, beginning after the one of the last time."""
        for _ in self._urls[1:]:
            with contextlib.suppress(Outage):
                return await self._connect_to_next()
        return await self._connect_to_next()

    async def _connect_to_next(self) -> AbstractConnection:
        url = self._urls[0]
        self._urls.append(self._urls.pop(0))
        tap = DeliveryParser(self._keep)
        connection = client_library.InterceptingConnection(
            url,
            client_properties={"connection_name": self._name},
            transport_factory=InterceptingTransport(tap),
            ssl_context=get_broker_context(self._tls),
        )
        try:
            await with_broker_timeout(connection.connect(timeout=self._timeout), self._timeout + 1)
        except Outage as error:
            words = describe_closed_connection(error) if url.scheme == "amqps" else None
            raise Outage(f"the broker is gone: {words}") if words else error from error.__cause__
        self._tap = tap
        log.debug("connected to the broker", extra={"host": url.host, "port": url.port})
        return connection

    async def close(self) -> None:
        """Close the connection, within a bound and without complaint."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Outage):
                await with_broker_timeout(connection.close(), CLOSE_TIMEOUT)
