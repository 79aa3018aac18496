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
from aiormq.channel import Channel
from pamqp.commands import Basic

from infra.amqp.connection import BrokerConnection, with_broker_timeout
from infra.amqp.content_header import decode_content_header
from infra.amqp.intercepting_reader import never_called
from infra.amqp.message import Message
from infra.amqp.publish_channel import get_login
from infra.amqp.send_spans import SendSpans
from infra.errors import Outage
from infra.settings import Settings
from infra.tracing import Tracer

REPLY_TO = "amq.rabbitmq.reply-to"
CLOSING = 1.0  # seconds for a channel that is given up


class RpcClient:
    """Sends requests and hands each answer to its caller."""

    def __init__(self, settings: Settings, name: str, tracer: Tracer | None = None) -> None:
        """Prepare; the first request connects."""
        self._tracer = tracer
        self._link = BrokerConnection(settings, f"{name}:request")
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

    async def call(self, message: Message, timeout: float) -> dict[str, Any]:  # noqa: ASYNC109 - the deadline also expires the message
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
            await self._send(request, until)
            async with asyncio.timeout_at(until):
                return await answer
        except TimeoutError as error:
            raise Outage("no worker has answered in time") from error
        finally:
            del self._waiting[correlation_id]

    async def _send(self, request: Message, until: float) -> None:
        if self._tracer is None:
            await self._publish(request, until)
            return
        with SendSpans(self._tracer, [request]) as spans:
            await self._publish(spans.messages[0], until)

    async def _publish(self, request: Message, until: float) -> None:
        async with asyncio.timeout_at(until):
            channel = await self._open()
        publishing = channel.basic_publish(
            request.body,
            exchange=request.exchange,
            routing_key=request.routing_key,
            properties=request.properties(get_login(channel)),
            mandatory=True,
        )
        try:
            left = until - asyncio.get_running_loop().time()
            answer = await with_broker_timeout(publishing, min(left, self._limit))
        except Outage:
            # Refused or silent: a channel may stay so; the next call opens another.
            await self._give_up(channel)
            raise
        if not isinstance(answer, Basic.Ack):
            raise Outage("no queue takes the request")

    async def _give_up(self, channel: Channel) -> None:
        if self._channel is channel:
            self._channel = None
        with contextlib.suppress(Outage):
            await with_broker_timeout(channel.close(), CLOSING)

    async def _open(self) -> Channel:
        async with self._lock:
            if self._channel is None or self._channel.is_closed:
                channel, tap = await self._link.open_consumer_channel(confirms=True)
                tag = f"reply.{uuid4().hex}"
                tap.add(tag, self._on_answer)
                consuming = channel.basic_consume(
                    REPLY_TO, never_called, no_ack=True, consumer_tag=tag
                )
                await with_broker_timeout(consuming, self._limit)
                self._channel = channel
            return self._channel

    def _on_answer(self, *delivered: Any) -> None:  # noqa: ANN401 - as ``infra.amqp.partial_delivery.DeliveryCallback`` has it
        """Hand an answer to its caller; one that is no JSON object has no taker."""
        *_, header, body, _ = delivered
        waiting = self._waiting.get(decode_content_header(header).correlation_id or "")
        if waiting is None or waiting.done():
            return
        with contextlib.suppress(orjson.JSONDecodeError):
            answer = orjson.loads(body)
            if isinstance(answer, dict):
                waiting.set_result(answer)
