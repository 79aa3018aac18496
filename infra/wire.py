"""Deliveries taken straight off the socket, before the client library's general path.

aiormq reads a delivery as three awaited frames, decodes every property, and starts a task
for it. That is most of what a message costs. A ``Tap`` sits where the bytes come in: frames
of deliveries to a consumer that it knows it hands over at once, in order, without a task;
every other byte goes on to aiormq unchanged. (AMQP 0-9-1, sections 2.3.5 and 4.2.)

The library notices a dead connection by the frames it sees; for the frames that it does not
see, it is shown a heartbeat now and then.
"""

import asyncio
import struct
from collections.abc import Callable, Iterable
from typing import Any, SupportsIndex

from aio_pika import Connection
from aio_pika.abc import ConnectionParameter
from aiormq.connection import SSLContextProvider, TransportFactory
from yarl import URL

METHOD, HEADER, BODY = 1, 2, 3
KINDS = (METHOD, HEADER, BODY, 8)  # 8 is a heartbeat
FRAME = struct.Struct(">BHI")  # type, channel, size of the payload
FRAME_END = 0xCE
DELIVER = struct.pack(">HH", 60, 60)  # basic.deliver
SIZE = struct.Struct(">Q")
TAGGED = struct.Struct(">QB")  # delivery tag, redelivered
HEARTBEAT = bytes((8, 0, 0, 0, 0, 0, 0, FRAME_END))
HEARTBEAT_EVERY = 1.0  # seconds
NAMES = 1000  # exchange names and routing keys that are remembered as text

# tag, redelivered, exchange, routing key, content header (undecoded), body
Sink = Callable[[int, bool, str, str, bytes, bytes], None]


class Partial:
    """A delivery whose frames are still coming in."""

    __slots__ = ("chunks", "exchange", "header", "key", "missing", "redelivered", "sink", "tag")

    def __init__(self, sink: Sink, tag: int, redelivered: bool, exchange: str, key: str) -> None:  # noqa: FBT001 - as the frame has them
        """Begin with what the method frame says."""
        self.sink = sink
        self.tag = tag
        self.redelivered = redelivered
        self.exchange = exchange
        self.key = key
        self.header = b""
        self.missing = 0
        self.chunks: list[bytes] = []


class Tap:
    """Divides a connection's bytes: deliveries to known consumers here, the rest onward."""

    def __init__(self) -> None:
        """Begin without consumers: everything goes onward."""
        self._sinks: dict[bytes, Sink] = {}
        self._partial: dict[int, Partial] = {}
        self._pending = b""
        self._names: dict[bytes, str] = {}
        self._broken = False
        self._last_heartbeat = 0.0

    def add(self, consumer_tag: str, sink: Sink) -> None:
        """Hand deliveries to ``consumer_tag`` over to ``sink``, from the reader itself."""
        self._sinks[consumer_tag.encode()] = sink

    def remove(self, consumer_tag: str) -> None:
        """Know the consumer no more."""
        self._sinks.pop(consumer_tag.encode(), None)

    def take(self, data: bytes, clock: float) -> bytes:
        """Take deliveries out of what has come in; gives what is to go onward."""
        if self._broken:
            return data
        data = self._pending + data if self._pending else data
        onward: list[bytes] = []
        at = kept = 0
        taken = False
        end = len(data)
        while end - at >= FRAME.size:
            kind, channel, size = FRAME.unpack_from(data, at)
            start = at + FRAME.size
            stop = start + size + 1
            known = kind in KINDS
            if known and stop > end:
                break
            if not known or data[stop - 1] != FRAME_END:
                # No frame of ours to judge: the library will say what is wrong.
                self._broken = True
                return b"".join([*onward, data[kept:]])
            if self._is_taken(kind, channel, data, start, stop - 1):
                taken = True
                if kept < at:
                    onward.append(data[kept:at])
                kept = stop
            at = stop
        if kept < at:
            onward.append(data[kept:at])
        self._pending = data[at:]
        if taken and clock - self._last_heartbeat > HEARTBEAT_EVERY:
            self._last_heartbeat = clock
            onward.append(HEARTBEAT)
        return b"".join(onward)

    def _is_taken(self, kind: int, channel: int, data: bytes, start: int, stop: int) -> bool:
        if kind == METHOD:
            if data[start : start + 4] != DELIVER:
                return False
            return self._begin(channel, data, start + 4)
        partial = self._partial.get(channel)
        if partial is None:
            return False
        if kind == HEADER:
            partial.header = data[start:stop]
            (partial.missing,) = SIZE.unpack_from(data, start + 4)
        else:
            partial.chunks.append(data[start:stop])
            partial.missing -= stop - start
        if partial.missing <= 0:
            del self._partial[channel]
            chunks = partial.chunks
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            partial.sink(
                partial.tag,
                partial.redelivered,
                partial.exchange,
                partial.key,
                partial.header,
                body,
            )
        return True

    def _begin(self, channel: int, data: bytes, at: int) -> bool:
        consumer, at = _short(data, at)
        sink = self._sinks.get(consumer)
        if sink is None:
            return False
        tag, redelivered = TAGGED.unpack_from(data, at)
        exchange, at = _short(data, at + TAGGED.size)
        key, at = _short(data, at)
        self._partial[channel] = Partial(
            sink, tag, bool(redelivered), self._text(exchange), self._text(key)
        )
        return True

    def _text(self, name: bytes) -> str:
        known = self._names.get(name)
        if known is None:
            if len(self._names) >= NAMES:
                self._names.clear()
            known = self._names[name] = name.decode(errors="backslashreplace")
        return known


def _short(data: bytes, at: int) -> tuple[bytes, int]:
    """Read a short string; gives it and where it ends."""
    end = at + 1 + data[at]
    return data[at + 1 : end], end


class TappedReader(asyncio.StreamReader):
    """A stream reader whose bytes pass a tap first."""

    def __init__(self, tap: Tap, loop: asyncio.AbstractEventLoop) -> None:
        """Read for ``tap``."""
        super().__init__(loop=loop)
        self._tap = tap
        self._clock = loop.time

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        """Take in what the socket has; called by the transport."""
        onward = self._tap.take(bytes(data), self._clock())
        if onward:
            super().feed_data(onward)


class TappedTransport(TransportFactory):
    """Opens the connection's socket with a tap on it."""

    def __init__(self, tap: Tap) -> None:
        """``tap`` is for one connection."""
        self._tap = tap

    async def create(
        self,
        url: URL,
        **options: Any,  # noqa: ANN401 - the library's own signature
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect; raises ``OSError``."""
        loop = asyncio.get_running_loop()
        provider: SSLContextProvider = options.pop("ssl_context_provider")
        context = await provider.get_context() if url.scheme == "amqps" else None
        reader = TappedReader(self._tap, loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(
            lambda: protocol, url.host or "localhost", url.port or 0, ssl=context, **options
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class TappedConnection(Connection):
    """An aio-pika connection that accepts a transport factory for its aiormq connection."""

    PARAMETERS = (
        *Connection.PARAMETERS,
        ConnectionParameter(
            name="transport_factory", parser=lambda factory: factory, default=None, is_kwarg=True
        ),
    )
