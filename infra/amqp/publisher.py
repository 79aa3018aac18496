"""Publishing that tells the truth.

A publish is done when the broker has confirmed *and* routed the message; anything else
raises. Publishing and consuming have a link each, because an alarm blocks every connection
that has published, acks included.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from aiormq.channel import Channel

from infra import metrics
from infra.amqp.connection import BrokerConnection, with_broker_timeout
from infra.amqp.message import Message
from infra.amqp.publish_channel import PublishChannel, outcome_of, to_publish_error
from infra.amqp.send_spans import SendSpans
from infra.amqp.topology import PUBLISH_EXCHANGES
from infra.background import BackgroundTasks
from infra.backoff import Backoff
from infra.errors import BrokerRefused, Outage, PublishFailed, PublishUnknown
from infra.settings import Settings
from infra.tracing import Tracer

# A multiple confirm walks all outstanding ones, so the window stays narrow.
WINDOW_MESSAGES = 256
# Calls of publish_all that have a window of their own under way.
MAX_WINDOWS = 4
WINDOW_BYTES = 4 * 1024 * 1024
# Seconds without a success, until a channel is given up that only refuses, or is silent.
NACK_TIMEOUT = 1.0
SILENCE_TIMEOUT = 5.0

log = logging.getLogger(__name__)


class Publisher:
    """Publishes messages, confirmed and routed, on a connection of its own."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        background: BackgroundTasks,
        tracer: Tracer | None = None,
    ) -> None:
        """Prepare; entering the context starts the connection, in a background task."""
        metrics.PUBLISHED.begin(PUBLISH_EXCHANGES)
        self._tracer = tracer
        self._background = background
        self._link = BrokerConnection(settings, f"{name}:publish")
        self._timeout = settings.broker_timeout
        self._publish_channel: PublishChannel | None = None
        self._trouble = "the broker is not connected yet"
        self._failing_since: float | None = None
        self._useless = asyncio.Event()
        self._ready = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._window = asyncio.Semaphore(WINDOW_MESSAGES)
        self._batches = asyncio.Semaphore(MAX_WINDOWS)

    async def __aenter__(self) -> Self:
        """Start to connect, and give the first try a moment to succeed."""
        self._keeper = self._background.start(self._reconnect_forever(), "publisher")
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
        return self._publish_channel is not None and not self._publish_channel.is_closed

    @property
    def trouble(self) -> str | None:
        """Why no channel is open; None while one is."""
        return None if self.connected else self._trouble

    async def wait_until_connected(self) -> None:
        """Wait until a channel is open, however long that takes."""
        await self._ready.wait()

    async def publish(self, message: Message, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - a deadline for the confirm, in seconds
        """Publish one message and wait for the broker to take it.

        Raises ``PublishUnknown`` (no answer in ``timeout`` seconds, default
        ``BROKER_TIMEOUT``), ``BrokerRefused`` or ``Unroutable``.
        """
        limit = self._timeout if timeout is None else timeout
        if self._tracer is None:
            failed = await self._publish(message, limit)
        else:
            with SendSpans(self._tracer, [message]) as spans:
                failed = await self._publish(spans.messages[0], limit)
                spans.verdicts = [failed]
        metrics.PUBLISHED.count(message.exchange, outcome_of(failed))
        if failed is not None:
            self._check_channel_health([failed])
            raise failed
        self._failing_since = None

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
        if self._tracer is None:
            verdicts = await self._publish_windows(messages, limit)
        else:
            with SendSpans(self._tracer, messages) as spans:
                verdicts = await self._publish_windows(spans.messages, limit)
                spans.verdicts = verdicts
        for message, verdict in zip(messages, verdicts, strict=True):
            metrics.PUBLISHED.count(message.exchange, outcome_of(verdict))
        self._check_channel_health(verdicts)
        return verdicts

    async def _publish(self, message: Message, limit: float) -> PublishFailed | None:
        try:
            if self._window.locked():  # rarely, so only then is the wait for a turn watched
                began = time.monotonic()
                await with_broker_timeout(self._window.acquire(), limit)
                limit -= time.monotonic() - began
            else:
                await self._window.acquire()
            try:
                return await self._channel().publish(message, limit)
            finally:
                self._window.release()
        except Outage as error:
            return to_publish_error(error.__cause__ or error, message)

    async def _publish_windows(
        self, messages: Sequence[Message], limit: float
    ) -> list[PublishFailed | None]:
        """Publish messages a window at a time; one verdict for each."""
        verdicts: list[PublishFailed | None] = []
        with contextlib.suppress(Outage):  # no turn in time: nothing is tried
            await with_broker_timeout(self._batches.acquire(), limit)
            try:
                for window in _windows(messages):
                    found = await self._publish_window(window, limit)
                    verdicts += found
                    if all(isinstance(verdict, PublishUnknown) for verdict in found):
                        break
            finally:
                self._batches.release()
        verdicts += [PublishUnknown("not tried") for _ in messages[len(verdicts) :]]
        return verdicts

    def _check_channel_health(self, verdicts: Sequence[PublishFailed | None]) -> None:
        """Give a channel up on which nothing has succeeded for a while.

        On 3.10 a channel whose first publish met a quorum queue's dead leader is refused until
        that broker is back, before 4.2 one that has published during a partition may never be
        answered again (rabbitmq-server, pull request 14589), and up to 3.10 none may be
        answered but for its first publishes (pull request 9165); all seen on a cluster of
        three. A fresh channel is.
        """
        failures = [v for v in verdicts if isinstance(v, BrokerRefused | PublishUnknown)]
        if not failures or len(failures) < len(verdicts):
            self._failing_since = None
            return
        now = time.monotonic()
        silent = any(isinstance(failure, PublishUnknown) for failure in failures)
        if self._failing_since is None:
            self._failing_since = now
        elif now - self._failing_since > (SILENCE_TIMEOUT if silent else NACK_TIMEOUT):
            self._useless.set()

    async def _publish_window(
        self, messages: Sequence[Message], limit: float
    ) -> list[PublishFailed | None]:
        try:
            outgoing = self._channel()
        except Outage as error:
            return [PublishUnknown(str(error)) for _ in messages]
        return await outgoing.publish_all(messages, limit)

    def _channel(self) -> PublishChannel:
        if self._publish_channel is None or self._publish_channel.is_closed:
            raise Outage("not connected to the broker")
        return self._publish_channel

    async def _reconnect_forever(self) -> None:
        backoff = Backoff(first=0.2, longest=5)
        while True:
            try:
                channel, tap = await self._link.open_consumer_channel(confirms=True)
            except Outage as error:
                self._trouble = str(error)
                log.warning("cannot publish", extra={"reason": str(error)})
                await backoff.sleep()
                continue
            self._publish_channel = PublishChannel(channel, tap.held)
            self._ready.set()
            channel.closing.add_done_callback(lambda _: self._ready.clear())
            backoff.reset()
            await self._wait_until_unusable(channel)
            self._publish_channel = None
            self._trouble = "the broker has closed the channel"
            self._ready.clear()
            await backoff.sleep()

    async def _wait_until_unusable(self, channel: Channel) -> None:
        """Wait until a channel is closed, or of no use and is closed for that."""
        while not channel.is_closed:
            self._failing_since = None
            self._useless.clear()
            useless = asyncio.create_task(self._useless.wait())
            try:
                await asyncio.wait({channel.closing, useless}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                useless.cancel()
            if not channel.is_closed and not await _is_blocked(channel):
                log.warning("publish channel unresponsive, reopening")
                with contextlib.suppress(Outage):
                    await with_broker_timeout(channel.close(), self._timeout)
                return


def _windows(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Divide messages into what is under way at a time: so many, and so many bytes."""
    start = size = 0
    for at, message in enumerate(messages):
        size += len(message.body)
        if at > start and (at - start >= WINDOW_MESSAGES or size > WINDOW_BYTES):
            yield messages[start:at]
            start, size = at, len(message.body)
    if start < len(messages):
        yield messages[start:]


async def _is_blocked(channel: Channel) -> bool:
    """Tell whether an alarm keeps the broker from answering: on no channel it would."""
    try:
        async with asyncio.timeout(0):
            await channel.connection.ready()
    except TimeoutError:
        return True
    return False
