"""Asking a worker and waiting for its answer, over direct reply-to.

One channel holds both the request and the consumer of its reply, as the broker demands.
An answer that comes after its deadline finds nobody waiting and is forgotten.
"""

import asyncio
import contextlib
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import orjson
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from pamqp.commands import Basic

from infra.errors import Outage
from infra.link import Link, guarded
from infra.message import Message
from infra.outgoing import user_of
from infra.settings import Settings

REPLY_TO = "amq.rabbitmq.reply-to"
CLOSING = 1.0  # seconds for a channel that is given up


class Requester:
    """Sends requests and hands each answer to whoever waits for it."""

    def __init__(self, settings: Settings, name: str) -> None:
        """Prepare; the first request connects."""
        self._link = Link(settings, f"{name}:request")
        self._limit = settings.broker_timeout
        self._lock = asyncio.Lock()
        self._channel: Channel | None = None
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def __aenter__(self) -> Self:
        """Nothing is opened before the first request."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        await self._link.close()

    async def ask(self, message: Message, timeout: float) -> dict[str, Any]:  # noqa: ASYNC109 - the deadline also expires the message
        """Publish a request and give the answer.

        The message expires with the deadline (``timeout`` seconds) unless it is persistent.
        Raises ``Outage`` when no answer comes in time.
        """
        correlation_id = uuid4().hex
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        answer: asyncio.Future[dict[str, Any]] = loop.create_future()
        self._waiting[correlation_id] = answer
        request = message._replace(
            correlation_id=correlation_id,
            reply_to=REPLY_TO,
            expiration_ms=None if message.persistent else int(timeout * 1000),
        )
        try:
            await self._publish(request, until)
            async with asyncio.timeout_at(until):
                return await answer
        except TimeoutError as error:
            raise Outage("no worker has answered in time") from error
        finally:
            del self._waiting[correlation_id]

    async def _publish(self, request: Message, until: float) -> None:
        async with asyncio.timeout_at(until):
            channel = await self._open()
        publishing = channel.basic_publish(
            request.body,
            exchange=request.exchange,
            routing_key=request.routing_key,
            properties=request.properties(user_of(channel)),
            mandatory=True,
        )
        try:
            left = until - asyncio.get_running_loop().time()
            answer = await guarded(publishing, min(left, self._limit))
        except Outage:
            # Refused or silent: a channel may stay so (see infra/bus.py); the next asks on another.
            await self._give_up(channel)
            raise
        if not isinstance(answer, Basic.Ack):
            raise Outage("no queue takes the request")

    async def _give_up(self, channel: Channel) -> None:
        if self._channel is channel:
            self._channel = None
        with contextlib.suppress(Outage):
            await guarded(channel.close(), CLOSING)

    async def _open(self) -> Channel:
        async with self._lock:
            if self._channel is None or self._channel.is_closed:
                channel = await self._link.channel(confirms=True)
                consuming = channel.basic_consume(REPLY_TO, self._on_answer, no_ack=True)
                await guarded(consuming, self._limit)
                self._channel = channel
            return self._channel

    async def _on_answer(self, message: DeliveredMessage) -> None:
        waiting = self._waiting.get(message.header.properties.correlation_id or "")
        if waiting is not None and not waiting.done():
            waiting.set_result(orjson.loads(message.body))
