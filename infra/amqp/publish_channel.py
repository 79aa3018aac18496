"""The publishing end of a channel: written past the client library's path, confirmed through it.

aiormq makes every publish of objects, under a lock, and gives its writer one publish at a
time; that costs more than all the rest of an accepted webhook. Here the frames are packed
directly, and what is published in one turn of the event loop leaves in one write. The
broker's confirms and returns still come in through aiormq, whose books (delivery tags,
confirmations, ids) are kept in its stead; so nothing else may publish on the channel.
"""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from aiormq.channel import Channel
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelClosed,
    ChannelNotFoundEntity,
    ConnectionClosed,
    ConnectionFrameError,
    ConnectionSyntaxError,
    ConnectionUnexpectedFrame,
    DeliveryError,
    PublishError,
)
from pamqp.commands import Basic

from events.envelope import new_id
from infra import metrics
from infra.amqp import client_library
from infra.amqp.flow_control import HeldBytes
from infra.amqp.frame_encoder import encode_publish, encode_publisher_properties
from infra.amqp.message import Message
from infra.errors import (
    BrokerRefused,
    Outage,
    PublishFailed,
    PublishUnknown,
    Unroutable,
    Unwritable,
)

# How the broker closes a connection on which it cannot read what was published.
UNREADABLE = (ConnectionFrameError, ConnectionSyntaxError, ConnectionUnexpectedFrame)
INTERNAL_ERROR = 541  # AMQP 0-9-1, section 1.1: the broker's own fault, and so an outage

WRITE_RETRY_DELAY = 0.001  # seconds until a writer that is behind is tried again
# Bytes that wait for the socket; more gather only while the broker reads nothing.
MAX_UNSENT_BYTES = 8 * 1024 * 1024

Answer = asyncio.Future[Any]


def get_login(channel: Channel) -> str:
    """Tell which user of the broker a channel's connection has logged in as."""
    return channel.connection.url.user or "guest"


class PublishChannel:
    """The publishing end of a channel in confirm mode."""

    def __init__(self, channel: Channel, held: HeldBytes) -> None:
        """Take the channel over; ``held`` is its connection's. Raises ``UntestedClientLibrary``."""
        client_library.check_channel(channel)
        self._channel = channel
        self._held = held
        self._in_flight = client_library.get_in_flight(channel)
        self._signature = encode_publisher_properties(get_login(channel))
        self._loop = asyncio.get_running_loop()
        self._open: dict[Answer, str] = {}  # answers that are waited for -> message ids
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._socket_bytes = 0  # that the socket had not taken when ``_pending`` began
        self._last: tuple[Answer, Message] | None = None
        channel.closing.add_done_callback(self._end)

    @property
    def is_closed(self) -> bool:
        """Whether the channel is gone."""
        return self._channel.is_closed

    @property
    def unsent(self) -> int:
        """How many bytes the socket has not taken yet."""
        return self._pending_bytes + self._held.unsent

    async def publish(self, message: Message, limit: float) -> PublishFailed | None:
        """Publish, wait ``limit`` seconds at most for the broker, and say what came of it.

        Only one timer for each publish: this is the path of every webhook.
        """
        answer = self.send(message)
        timer = self._loop.call_later(limit, answer.cancel)
        try:
            await answer
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        except Exception:  # noqa: BLE001, S110 - the verdict below is about it
            pass
        finally:
            timer.cancel()
            self._forget(answer)
        return result_of(answer, message)

    async def publish_all(
        self, messages: Sequence[Message], limit: float
    ) -> list[PublishFailed | None]:
        """Publish in this order, wait ``limit`` seconds at most, and say what came of each."""
        answers = [self.send(message) for message in messages]
        try:
            await asyncio.wait(answers, timeout=limit)
        finally:
            for answer in answers:
                answer.cancel()
                self._forget(answer)
        return [result_of(*pair) for pair in zip(answers, messages, strict=True)]

    def send(self, message: Message) -> Answer:
        """Write a message; the answer is the broker's ``Ack``, a returned message, or an error.

        aiormq finds the publish that a returned message belongs to by its id, so a message
        whose id is under way already travels under a fresh one; events carry their id
        in the body. What cannot be written at all is answered with ``Unwritable``, and what is
        not even tried while the broker reads nothing with ``PublishUnknown``.
        """
        channel = self._channel
        name = message.message_id or new_id()
        if name in self._in_flight:
            name = new_id()
        answer: Answer = self._loop.create_future()
        if not self._pending:
            self._socket_bytes = self._held.unsent
        if self._pending_bytes + self._socket_bytes > MAX_UNSENT_BYTES:
            answer.set_exception(PublishUnknown("the broker does not read what is sent"))
            return answer
        try:
            payload = encode_publish(
                message,
                channel=channel.number,
                message_id=name,
                now=int(time.time()),
                signature=self._signature,
                most=channel.max_content_size,
                most_header=channel.max_content_size,
            )
        except (ValueError, TypeError) as error:
            answer.set_exception(Unwritable(f"it cannot be written: {error}"))
            return answer
        self._open[answer] = name
        client_library.register_publish(channel, name, answer)
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(payload)
        self._last = answer, message
        self._pending_bytes += len(payload)
        return answer

    def _flush(self) -> None:
        if client_library.write(self._channel, b"".join(self._pending)):
            self._pending.clear()
            self._pending_bytes = 0
            if self._last is not None:
                answer, message = self._last
                answer.add_done_callback(partial(_observe, message, time.perf_counter()))
        elif not self._channel.is_closed:
            self._loop.call_later(WRITE_RETRY_DELAY, self._flush)

    def _forget(self, answer: Answer) -> None:
        name = self._open.pop(answer, None)
        if name is not None:
            self._in_flight.pop(name, None)

    def _end(self, closing: "asyncio.Future[Any]") -> None:
        """Answer all who wait, with the reason for which the channel was closed."""
        reason = None if closing.cancelled() else closing.exception()
        if not isinstance(reason, Exception):
            reason = ConnectionError("the channel was closed")
        for answer in tuple(self._open):
            if not answer.done():
                answer.set_exception(reason)


def _observe(message: Message, began: float, answer: Answer) -> None:
    """Time a group of publishes, from their write to the answer to the last of them."""
    seconds = time.perf_counter() - began
    failure = result_of(answer, message)
    metrics.PUBLISHED.observe(message.exchange, outcome_of(failure), seconds)


def outcome_of(failure: PublishFailed | None) -> str:
    """Name the outcome of a publish for the metrics."""
    return metrics.CONFIRMED if failure is None else type(failure).__name__


def result_of(answer: Answer, message: Message) -> PublishFailed | None:
    """Say what came of a publish whose answer is there, or was given up."""
    if answer.cancelled():
        return PublishUnknown("the broker does not answer in time")
    error = answer.exception()
    if error is not None:
        return to_publish_error(error, message)
    return None if is_ack(answer.result()) else unroutable_error(message)


def is_ack(answer: object) -> bool:
    """Whether the broker has taken responsibility for a message."""
    return isinstance(answer, Basic.Ack)


def unroutable_error(message: Message) -> Unroutable:
    """Say that a message came back: nobody takes it."""
    return Unroutable(f"no queue takes {message.routing_key!r} from {message.exchange!r}")


def to_publish_error(error: BaseException, message: Message) -> PublishFailed:
    """Say what an error in place of an answer means."""
    if isinstance(error, PublishFailed):
        return error
    if isinstance(error, PublishError):
        return unroutable_error(message)
    if isinstance(error, DeliveryError):
        return BrokerRefused(f"the broker refused a message for {message.exchange!r}")
    if isinstance(error, (ChannelClosed, *UNREADABLE)):
        return _closed_over(error, message)
    if isinstance(error, Outage):
        return PublishUnknown(str(error))
    return PublishUnknown(f"the broker is gone: {type(error).__name__}")


def _closed_over(error: ChannelClosed | ConnectionClosed, message: Message) -> PublishFailed:
    """Say what it means for a message that the broker closed the channel or connection."""
    if isinstance(error, ChannelClosed):
        if reason := _misdirected(error, message):
            return Unroutable(reason)
        if f"message size {len(message.body)} is larger" in str(error):
            return Unwritable(f"the broker does not take it: {error}")
        # Codes that the library has no class for come first; it has none for "by ourselves".
        if not error.args or error.args[0] in (None, INTERNAL_ERROR):
            return PublishUnknown("the broker is gone: the channel was closed")
    return PublishUnknown(f"the broker closed the channel: {error}", suspect=True)


def _misdirected(error: ChannelClosed, message: Message) -> str | None:
    """Say why this message has closed the channel, if it is the one that the broker names.

    Every publish in flight gets to know of it; the others may simply be repeated.
    """
    text = str(error)
    if f"exchange '{message.exchange}'" not in text:
        return None
    if isinstance(error, ChannelNotFoundEntity):
        return f"there is no exchange {message.exchange!r}"
    named = " topic '" not in text or f" topic '{message.routing_key}'" in text
    if isinstance(error, ChannelAccessRefused) and named:
        return f"our user of the broker may not do that: {text}"
    return None
