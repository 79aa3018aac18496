"""Takes the deliveries of one queue off a channel; the client library decodes none of them."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from aiormq.channel import Channel

from infra.amqp.connection import with_broker_timeout
from infra.amqp.delivery_parser import DeliveryParser
from infra.amqp.intercepting_reader import never_called
from infra.amqp.partial_delivery import DeliveryCallback, WholeBody
from infra.messaging.delivery import Delivery

MAX_PREFETCH = 2000  # the most that quorum queues allow; streams allow more


class DeliverySource:
    """One queue on one channel, read with ``basic.get`` or ``basic.consume``.

    Every method raises ``Outage`` when the broker does not answer within ``timeout`` seconds.
    """

    def __init__(
        self, channel: Channel, parser: DeliveryParser, queue: str, timeout: float
    ) -> None:
        """``parser`` is that of the channel's connection."""
        self._channel = channel
        self._parser = parser
        self._queue = queue
        self._timeout = timeout
        self._got: list[Delivery] = []
        self._consumer_tag: str | None = None

    async def get(self) -> Delivery | None:
        """Get the queue's next message; None when there is none."""
        self._got.clear()
        self._parser.add_getter(self._channel.number, self._to_callback(self._got.append))
        await with_broker_timeout(self._channel.basic_get(self._queue), self._timeout)
        return self._got.pop() if self._got else None

    async def consume(
        self,
        take: Callable[[Delivery], None],
        cancelled: Callable[[], None],
        *,
        prefetch: int,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Call ``take`` with each delivery, and ``cancelled`` when the broker ends this.

        At most ``prefetch`` deliveries are unacknowledged at a time; of a quorum queue that is at
        most ``MAX_PREFETCH``.
        """

        async def on_cancel(_: object) -> None:
            cancelled()

        self._channel.on_consumer_cancel_callbacks.add(on_cancel)
        qos = self._channel.basic_qos(prefetch_count=prefetch)
        await with_broker_timeout(qos, self._timeout)
        # A fresh tag each time: 3.10 fails on one that is used again too soon.
        self._consumer_tag = f"{self._queue}.{uuid4().hex}"
        self._parser.add(self._consumer_tag, self._to_callback(take))
        consuming = self._channel.basic_consume(
            self._queue,
            never_called,
            consumer_tag=self._consumer_tag,
            arguments=dict(arguments or {}),
        )
        await with_broker_timeout(consuming, self._timeout)

    async def cancel(self) -> None:
        """Stop accepting deliveries, except those that are on their way already."""
        if self._consumer_tag in self._channel.consumers and not self._channel.is_closed:
            cancelling = self._channel.basic_cancel(self._consumer_tag)
            await with_broker_timeout(cancelling, self._timeout)

    def detach(self) -> None:
        """Drop what still comes: the broker keeps it, unacknowledged."""
        if self._consumer_tag is not None:
            self._parser.remove(self._consumer_tag)
        self._parser.remove_getter(self._channel.number)

    def _to_callback(self, take: Callable[[Delivery], None]) -> DeliveryCallback:
        queue = self._queue

        def callback(
            tag: int,
            redelivered: bool,  # noqa: FBT001 - as the frame has it
            exchange: str,
            key: str,
            header: bytes,
            body: bytes,
            whole: WholeBody | None,
        ) -> None:
            take(Delivery(tag, queue, exchange, key, body, header, whole, redelivered=redelivered))

        return callback
