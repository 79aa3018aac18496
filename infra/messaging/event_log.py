"""Reads the event log, the stream ``adrelay.history``, in batches and in its order.

RabbitMQ numbers what a stream holds (its offset). Reading begins at an offset, at a time (with the
first chunk that was written in that second or later), at the first or last chunk, or with what
comes next. At most ``flow_control.MAX_HELD_BYTES`` of it are in memory, and one batch.

RabbitMQ manual, "Streams", section "Consuming": ``x-stream-offset`` over AMQP 0-9-1.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from struct import Struct
from typing import Literal, NamedTuple

from aiormq.channel import Channel

from infra.amqp import topology
from infra.amqp.connection import BrokerConnection, with_broker_timeout
from infra.amqp.content_header import MAX_TIMESTAMP
from infra.amqp.message import APP_ID
from infra.errors import Outage
from infra.messaging.batcher import Batcher
from infra.messaging.delivery import Delivery
from infra.messaging.delivery_source import MAX_PREFETCH, DeliverySource

OFFSET = "x-stream-offset"
# As a field of the table of headers: its name with the length before it, and a long integer.
OFFSET_FIELD = bytes((len(OFFSET),)) + OFFSET.encode() + b"l"
NUMBER = Struct(">q")
BATCH = 500  # events
LONGEST_CHUNK = 4096  # events that RabbitMQ writes to a stream as one
EMPTY_AFTER = 2.0  # seconds without a delivery after which the broker is asked whether that is all
# What the broker says where there is no such queue (AMQP 0-9-1, reply code 404), and where the
# queue is of another type.
ABSENT = ("NOT_FOUND", f"invalid arg '{OFFSET}'")

# Where to begin: an offset, an aware time, or a chunk.
LogStart = int | datetime | Literal["first", "last", "next"]


class LogAbsent(Outage):
    """There is no event log on this broker; the message says what is there instead."""


class LogEntry(NamedTuple):
    """A message of the log, and its number there."""

    offset: int
    delivery: Delivery

    @property
    def published_at(self) -> datetime | None:
        """When Adrelay published it (UTC, to the second); None where another system did.

        What other systems write as the time of a message is not known to be one.
        """
        properties = self.delivery.properties
        seconds = properties.timestamp
        if properties.app_id != APP_ID or seconds is None or seconds > MAX_TIMESTAMP:
            return None
        return datetime.fromtimestamp(seconds, UTC)


async def find_end(connection: BrokerConnection, timeout: float) -> int | None:  # noqa: ASYNC109 - of each wait for the broker
    """Find an offset beyond the end of the log, by a chunk at most; None when it is empty.

    Raises ``LogAbsent`` or ``Outage``.
    """
    async with aclosing(read_log(connection, "last", timeout=timeout)) as batches:
        async for batch in batches:
            return batch[0].offset + LONGEST_CHUNK
    return None


async def read_log(
    connection: BrokerConnection,
    start: LogStart,
    *,
    timeout: float,  # noqa: ASYNC109 - of each wait for the broker, not of the whole
    until: int | None = None,
    empty_after: float | None = EMPTY_AFTER,
    batch: int = BATCH,
    prefetch: int = MAX_PREFETCH,
) -> AsyncGenerator[Sequence[LogEntry], None]:
    """Give batches of the log, on a channel of its own; the next one when the last is done with.

    It ends at the offset ``until``, or when nothing has come for ``empty_after`` seconds and the
    broker says that this is all: None goes on for ever. ``timeout`` bounds each wait for the
    broker, in seconds; at most ``prefetch`` events, or a chunk, are unacknowledged. Raises
    ``LogAbsent`` without a log, and ``Outage``.
    """
    channel, parser = await connection.open_consumer_channel()
    batcher = Batcher(batch, 0)
    held = 0

    def take(delivery: Delivery) -> None:
        nonlocal held
        held += delivery.weight
        parser.held.add(delivery.weight)
        batcher.add(delivery)

    source = DeliverySource(channel, parser, topology.EVENT_LOG, timeout)
    closing = asyncio.ensure_future(_close_with(channel.closing, batcher))
    try:
        await _consume(source, take, batcher, start, prefetch)
        while deliveries := await _next_batch(batcher, channel, empty_after, timeout):
            entries = [LogEntry(offset_of(delivery), delivery) for delivery in deliveries]
            if wanted := _select(entries, start, until):
                yield wanted
            if until is not None and entries[-1].offset >= until:
                return
            weight = sum(delivery.weight for delivery in deliveries)
            held -= weight
            parser.held.remove(weight)
            acknowledging = channel.basic_ack(deliveries[-1].tag, multiple=True, wait=False)
            await with_broker_timeout(acknowledging, timeout)
        if batcher.closed is not None:
            raise Outage(f"the event log is not read any further: {batcher.closed}")
    finally:
        closing.cancel()
        source.detach()
        parser.held.remove(held)
        with contextlib.suppress(Outage):
            await with_broker_timeout(channel.close(), timeout)


def _select(entries: list[LogEntry], start: LogStart, until: int | None) -> list[LogEntry]:
    """Select what lies between two offsets; entries come in their order.

    A chunk is delivered whole, also what stands in it before the offset asked for.
    """
    first = entries[0].offset if not isinstance(start, int) else start
    last = entries[-1].offset if until is None else until
    if first <= entries[0].offset and entries[-1].offset <= last:
        return entries
    return [entry for entry in entries if first <= entry.offset <= last]


async def _consume(
    source: DeliverySource,
    take: Callable[[Delivery], None],
    batcher: Batcher,
    start: LogStart,
    prefetch: int,
) -> None:
    """Begin to read; raises ``LogAbsent`` or ``Outage``."""
    try:
        await source.consume(
            take,
            lambda: batcher.close("the broker has cancelled it"),
            prefetch=prefetch,
            arguments={OFFSET: start},
        )
    except Outage as error:
        if any(words in str(error) for words in ABSENT):
            raise LogAbsent(f"there is no event log: {error}") from error
        raise


def offset_of(delivery: Delivery) -> int:
    """Get the offset of a delivery of the log; raises ``LogAbsent`` if it is of another queue.

    The broker writes it into the headers. Bytes that look alike may stand in any text there; where
    nothing does, the headers need no decoding.
    """
    header = delivery.header
    if header.count(OFFSET_FIELD) == 1:
        at = header.find(OFFSET_FIELD) + len(OFFSET_FIELD)
        if at + NUMBER.size <= len(header):
            found: int = NUMBER.unpack_from(header, at)[0]
            return found
    offset = delivery.headers.get(OFFSET)
    if not isinstance(offset, int):
        raise LogAbsent(f"there is no event log: the queue {topology.EVENT_LOG} is no stream")
    return offset


async def _next_batch(
    batcher: Batcher,
    channel: Channel,
    empty_after: float | None,
    timeout: float,  # noqa: ASYNC109 - of each wait for the broker
) -> list[Delivery]:
    """Give the next batch; none at the end of the log, or once the batcher is closed.

    A broker that is slow has not come to the end: an answer on the same channel follows whatever
    was delivered before it. Raises ``Outage`` when it does not answer.
    """
    if batch := await _next_within(batcher, empty_after):
        return batch
    if batcher.closed is None:
        asking = channel.basic_qos(prefetch_count=MAX_PREFETCH)
        await with_broker_timeout(asking, timeout)
    return await _next_within(batcher, 0)


async def _next_within(batcher: Batcher, seconds: float | None) -> list[Delivery]:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await batcher.next_batch()
    return []


async def _close_with(closing: "asyncio.Future[object]", batcher: Batcher) -> None:
    await asyncio.wait({closing})
    batcher.close("the channel closed")
