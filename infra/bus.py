"""The broker: connections that come back, and publishing that tells the truth.

A publish is done when the broker has confirmed *and* routed the message; anything else
raises. Connections are plain ones (no "robust" ones: those declare again what an operator
removed and know one URL only): a ``Link`` connects anew when asked for a channel, trying
its URLs in turn. Publishing and consuming have a link each, because an alarm blocks every
connection that has published, acks included.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import aiormq
from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel
from yarl import URL

from infra import telemetry
from infra.backoff import Backoff
from infra.errors import Outage, PublishFailed, PublishUnknown
from infra.message import Message
from infra.outgoing import Outgoing, failure_of, is_taken, refusal_of, verdict_on
from infra.settings import Settings
from infra.wire import Tap, TappedConnection, TappedTransport

T = TypeVar("T")

# What aiormq and the socket raise when a channel or a connection is gone.
GONE = (aiormq.exceptions.AMQPError, ConnectionError, OSError, RuntimeError)
# A multiple confirm walks all outstanding ones, so the window stays narrow.
WINDOW = 256
# Calls of publish_all that have a window of their own under way.
BATCHES = 4
# Publishes that may wait to be written; more of them gather only while the broker reads nothing.
BEHIND = 16 * WINDOW
CLOSE_TIMEOUT = 3.0  # seconds

log = telemetry.get_logger(__name__)


async def guarded(call: Awaitable[T], timeout: float) -> T:  # noqa: ASYNC109 - it is this function's whole point
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
    except GONE as error:
        raise Outage(_in_words(error)) from error


def _in_words(error: BaseException) -> str:
    # What the broker says when it closes a channel names the queue or exchange at fault.
    if isinstance(error, aiormq.exceptions.AMQPChannelError):
        return f"the broker refuses: {error}"
    return f"the broker is gone: {type(error).__name__}"


class Link:
    """One connection to the broker that is opened again whenever a channel is wanted."""

    def __init__(self, settings: Settings, name: str) -> None:
        """Remember where to connect; ``name`` is what the broker shows for the connection."""
        query = {"heartbeat": str(settings.heartbeat)}
        urls = settings.rabbitmq_url.get_secret_value().split()
        self._urls = [URL(url).update_query(query) for url in urls]
        random.shuffle(self._urls)
        self._name = name
        self._timeout = settings.broker_timeout
        self._lock = asyncio.Lock()
        self._connection: AbstractConnection | None = None
        self._tap = Tap()

    async def tapped_channel(self) -> tuple[Channel, Tap]:
        """Open a channel to consume on, and the tap of its connection; raises ``Outage``."""
        while True:
            channel = await self.channel()
            # Another caller may have connected anew in the meantime.
            if not channel.is_closed:
                return channel, self._tap

    async def channel(self, *, confirms: bool = False) -> Channel:
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
        if self._connection is None or self._connection.is_closed:
            self._connection = await self._connect()
        transport = self._connection.transport
        if transport is None:
            raise Outage("the broker closed the connection")
        opening = transport.connection.channel(publisher_confirms=confirms)
        return cast("Channel", await guarded(opening, self._timeout))

    async def _connect(self) -> AbstractConnection:
        url = self._urls[0]
        self._urls.append(self._urls.pop(0))
        tap = Tap()
        connection = TappedConnection(
            url,
            client_properties={"connection_name": self._name},
            transport_factory=TappedTransport(tap),
        )
        await guarded(connection.connect(timeout=self._timeout), self._timeout + 1)
        self._tap = tap
        log.debug("connected to the broker", extra={"host": url.host, "port": url.port})
        return connection

    async def close(self) -> None:
        """Close the connection, within a bound and without complaint."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Outage):
                await guarded(connection.close(), CLOSE_TIMEOUT)


class Publisher:
    """Publishes messages, confirmed and routed, on a connection of its own."""

    def __init__(self, settings: Settings, name: str) -> None:
        """Prepare; entering the context starts the connection."""
        self._link = Link(settings, f"{name}:publish")
        self._timeout = settings.broker_timeout
        self._outgoing: Outgoing | None = None
        self._ready = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._window = asyncio.Semaphore(WINDOW)
        self._batches = asyncio.Semaphore(BATCHES)

    async def __aenter__(self) -> Self:
        """Start to connect, and give the first try a moment to succeed."""
        self._keeper = asyncio.create_task(self._keep_connected(), name="publisher")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                await self._ready.wait()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop connecting and close."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        await self._link.close()

    @property
    def connected(self) -> bool:
        """Whether a channel is open right now."""
        return self._outgoing is not None and not self._outgoing.is_closed

    async def publish(self, message: Message, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - a deadline for the confirm, in seconds
        """Publish one message and wait for the broker to take it.

        Raises ``PublishUnknown`` (no answer in ``timeout`` seconds, default
        ``BROKER_TIMEOUT``), ``BrokerRefused`` or ``Unroutable``.
        """
        failed: PublishFailed | None
        try:
            sending = self._send(message)
            answer = await guarded(sending, self._timeout if timeout is None else timeout)
        except Outage as error:
            failed = failure_of(error.__cause__ or error, message)
        else:
            failed = None if is_taken(answer) else refusal_of(message)
        telemetry.PUBLISHED[type(failed).__name__ if failed else "confirmed"].inc()
        if failed is not None:
            raise failed

    async def publish_all(
        self,
        messages: Sequence[Message],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - a deadline for each window's confirms, in seconds
    ) -> list[PublishFailed | None]:
        """Publish many messages, in their order; one verdict for each.

        They go out a window at a time. Once nothing at all is known of a window, the rest
        is not tried.
        """
        limit = self._timeout if timeout is None else timeout
        verdicts: list[PublishFailed | None] = []
        async with self._batches:
            for start in range(0, len(messages), WINDOW):
                window = messages[start : start + WINDOW]
                found = await self._publish_window(window, limit)
                verdicts += found
                if all(isinstance(verdict, PublishUnknown) for verdict in found):
                    break
        verdicts += [PublishUnknown("not tried") for _ in messages[len(verdicts) :]]
        for verdict in verdicts:
            telemetry.PUBLISHED[type(verdict).__name__ if verdict else "confirmed"].inc()
        return verdicts

    async def _send(self, message: Message) -> Any:  # noqa: ANN401 - what the broker answers
        async with self._window:
            return await self._channel().send(message)

    async def _publish_window(
        self, messages: Sequence[Message], limit: float
    ) -> list[PublishFailed | None]:
        try:
            outgoing = self._channel()
        except Outage as error:
            return [PublishUnknown(str(error)) for _ in messages]
        answers = [outgoing.send(message) for message in messages]
        try:
            await asyncio.wait(answers, timeout=limit)
        finally:
            for answer in answers:
                answer.cancel()
        return [verdict_on(*pair) for pair in zip(answers, messages, strict=True)]

    def _channel(self) -> Outgoing:
        if self._outgoing is None or self._outgoing.is_closed:
            raise Outage("not connected to the broker")
        if self._outgoing.behind > BEHIND:
            raise Outage("the broker does not read what is sent")
        return self._outgoing

    async def _keep_connected(self) -> None:
        backoff = Backoff(first=0.2, longest=5)
        while True:
            try:
                channel = await self._link.channel(confirms=True)
            except Outage as error:
                log.warning("cannot publish", extra={"reason": str(error)})
                await backoff.sleep()
                continue
            self._outgoing = Outgoing(channel)
            self._ready.set()
            backoff.reset()
            await asyncio.wait({channel.closing})
            self._outgoing = None
            self._ready.clear()
            await backoff.sleep()
