"""Deliveries taken straight off the socket, before the client library's general path.

aiormq reads a delivery as three awaited frames, decodes every property, and starts a task
for it. That is most of what a message costs. A ``Tap`` sits where the bytes come in: frames
of deliveries to a consumer that it knows it hands over at once, in order, without a task;
every other byte goes on to aiormq unchanged. (AMQP 0-9-1, sections 2.3.5 and 4.2.)

The library notices a dead connection by the frames it sees; for the frames that it does not
see, it is shown a heartbeat now and then. No other delivery reaches the library either: it
ends the connection at the first property that it cannot decode.

Of a body larger than ``keep`` bytes only the beginning is kept, with its length and its hash;
and while more than ``MAX_HELD_BYTES`` of deliveries are in hand, the socket is not read.
"""

import asyncio
import hashlib
import struct
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, SupportsIndex, cast

from aiormq.abc import DeliveredMessage
from aiormq.connection import SSLContextProvider, TransportFactory
from yarl import URL

METHOD, HEADER, BODY = 1, 2, 3
KINDS = (METHOD, HEADER, BODY, 8)  # 8 is a heartbeat
FRAME = struct.Struct(">BHI")  # type, channel, size of the payload
FRAME_END = 0xCE
DELIVER = struct.pack(">HH", 60, 60)  # basic.deliver
GET_OK = struct.pack(">HH", 60, 71)  # basic.get-ok: the answer to basic.get, with a message
GET_EMPTY = struct.pack(">HHB", 60, 72, 0)  # basic.get-empty: the answer without one
SIZE = struct.Struct(">Q")
TAGGED = struct.Struct(">QB")  # delivery tag, redelivered
HEARTBEAT = bytes((8, 0, 0, 0, 0, 0, 0, FRAME_END))
HEARTBEAT_EVERY = 1.0  # seconds
NAMES = 1000  # exchange names and routing keys that are remembered as text

MAX_HELD_BYTES = 16 * 1024 * 1024  # of deliveries in hand, in headers and bodies


class WholeBody(NamedTuple):
    """What a body was of which only the beginning is kept: its bytes, its SHA-256 in hex."""

    length: int
    sha256: str


# tag, redelivered, exchange, routing key, content header (undecoded), body, and the whole
# body's length and hash where the body is only its beginning
Sink = Callable[[int, bool, str, str, bytes, bytes, WholeBody | None], None]


class Partial:
    """A delivery whose frames are still coming in; of its body ``keep`` bytes are kept."""

    __slots__ = (
        "chunks",
        "exchange",
        "hashed",
        "header",
        "is_get",
        "keep",
        "key",
        "length",
        "missing",
        "redelivered",
        "sink",
        "tag",
    )

    def __init__(
        self,
        sink: Sink,
        tag: int,
        redelivered: bool,  # noqa: FBT001 - as the frame has it
        exchange: str,
        key: str,
        keep: int,
        *,
        is_get: bool,
    ) -> None:
        """Begin with what the method frame says; ``is_get``: it answers ``basic.get``."""
        self.is_get = is_get
        self.sink = sink
        self.tag = tag
        self.redelivered = redelivered
        self.exchange = exchange
        self.key = key
        self.keep = keep
        self.header = b""
        self.length = 0
        self.missing = 0
        self.chunks: list[bytes] = []
        self.hashed: Any = None  # a SHA-256, where not all of the body is kept

    def begin_body(self, header: bytes, length: int) -> None:
        """Take the content header; the body has ``length`` bytes."""
        self.header = header
        self.length = self.missing = length
        if length > self.keep:
            self.hashed = hashlib.sha256()

    def add(self, piece: bytes) -> None:
        """Take a piece of the body."""
        room = self.keep - (self.length - self.missing)
        self.missing -= len(piece)
        if self.hashed is not None:
            self.hashed.update(piece)
            piece = piece[: max(0, room)]
        if piece:
            self.chunks.append(piece)

    def finish(self) -> None:
        """Hand the delivery over."""
        chunks = self.chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        whole = None if self.hashed is None else WholeBody(self.length, self.hashed.hexdigest())
        self.sink(self.tag, self.redelivered, self.exchange, self.key, self.header, body, whole)


class HeldBytes:
    """Counts the bytes of deliveries in hand, and stops the reading while they are too many."""

    def __init__(self, most: int = MAX_HELD_BYTES) -> None:
        """Stop reading beyond ``most`` bytes, and go on at half of them."""
        self._most = most
        self._held = 0
        self._is_paused = False
        self._reader: TappedReader | None = None

    @property
    def unsent(self) -> int:
        """How many bytes the connection has been given that its socket has not taken yet."""
        return 0 if self._reader is None else self._reader.unsent

    def attach(self, reader: "TappedReader") -> None:
        """Stop and resume this reader."""
        self._reader = reader

    def add(self, size: int) -> None:
        """Count a delivery that has come in."""
        self._held += size
        if self._held > self._most and not self._is_paused and self._reader is not None:
            self._is_paused = True
            self._reader.pause()

    def remove(self, size: int) -> None:
        """Count deliveries out that are settled, or that the broker has again."""
        self._held -= size
        if self._is_paused and self._held <= self._most // 2 and self._reader is not None:
            self._is_paused = False
            self._reader.resume()


class Tap:
    """Divides a connection's bytes: deliveries to their consumers, the rest onward."""

    def __init__(self, keep: int = 2**63) -> None:
        """Begin without consumers; of each body at most ``keep`` bytes are kept."""
        self.held = HeldBytes()
        self._keep = keep
        self._sinks: dict[bytes, Sink] = {}
        self._getters: dict[int, Sink] = {}
        self._answered: list[bytes] = []  # for the library, which waits for an answer
        self._partial: dict[int, Partial] = {}
        self._pending = b""
        self._names: dict[bytes, str] = {}
        self._broken = False
        self._last_heartbeat = 0.0

    def add(self, consumer_tag: str, sink: Sink) -> None:
        """Hand deliveries to ``consumer_tag`` over to ``sink``, from the reader itself."""
        self._sinks[consumer_tag.encode()] = sink

    def remove(self, consumer_tag: str) -> None:
        """Drop what still comes for the consumer: unacknowledged, the broker keeps it."""
        self._sinks.pop(consumer_tag.encode(), None)

    def add_getter(self, channel: int, sink: Sink) -> None:
        """Hand what ``basic.get`` brings on a channel over to ``sink``.

        The library is told that the queue is empty, once the message is here.
        """
        self._getters[channel] = sink

    def remove_getter(self, channel: int) -> None:
        """Drop what ``basic.get`` still brings on a channel."""
        self._getters.pop(channel, None)

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
        if self._answered:
            onward += self._answered
            self._answered.clear()
        self._pending = data[at:]
        if taken and clock - self._last_heartbeat > HEARTBEAT_EVERY:
            self._last_heartbeat = clock
            onward.append(HEARTBEAT)
        return b"".join(onward)

    def _is_taken(self, kind: int, channel: int, data: bytes, start: int, stop: int) -> bool:
        if kind == METHOD:
            method = data[start : start + 4]
            if method == DELIVER:
                consumer, at = _short(data, start + 4)
                self._begin(channel, data, at, self._sinks.get(consumer))
            elif method == GET_OK:
                self._begin(channel, data, start + 4, self._getters.get(channel), is_get=True)
            else:
                return False
            return True
        partial = self._partial.get(channel)
        if partial is None:
            return False
        if kind == HEADER:
            (length,) = SIZE.unpack_from(data, start + 4)
            partial.begin_body(data[start:stop], length)
        else:
            partial.add(data[start:stop])
        if partial.missing <= 0:
            del self._partial[channel]
            partial.finish()
            if partial.is_get:
                frame = FRAME.pack(METHOD, channel, len(GET_EMPTY)) + GET_EMPTY
                self._answered.append(frame + bytes((FRAME_END,)))
        return True

    def _begin(
        self, channel: int, data: bytes, at: int, sink: Sink | None, *, is_get: bool = False
    ) -> None:
        tag, redelivered = TAGGED.unpack_from(data, at)
        exchange, at = _short(data, at + TAGGED.size)
        key, at = _short(data, at)
        self._partial[channel] = Partial(
            sink or _drop,
            tag,
            bool(redelivered),
            self._text(exchange),
            self._text(key),
            self._keep if sink else 0,
            is_get=is_get,
        )

    def _text(self, name: bytes) -> str:
        known = self._names.get(name)
        if known is None:
            if len(self._names) >= NAMES:
                self._names.clear()
            known = self._names[name] = name.decode(errors="backslashreplace")
        return known


def _drop(*_: object) -> None:
    """Take a delivery that no consumer is known for; the broker has it again when we leave."""


def _short(data: bytes, at: int) -> tuple[bytes, int]:
    """Read a short string; gives it and where it ends."""
    end = at + 1 + data[at]
    return data[at + 1 : end], end


async def passed_by(message: DeliveredMessage) -> None:
    """Stand for a consumer's callback in the library, which no delivery reaches."""
    raise RuntimeError(f"delivery {message.delivery_tag} has missed the tap")


class TappedReader(asyncio.StreamReader):
    """A stream reader whose bytes pass a tap first."""

    def __init__(self, tap: Tap, loop: asyncio.AbstractEventLoop) -> None:
        """Read for ``tap``."""
        super().__init__(loop=loop)
        self._tap = tap
        self._loop = loop
        self._socket: asyncio.Transport | None = None
        self._beating: asyncio.TimerHandle | None = None
        tap.held.attach(self)

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        """Take in what the socket has; called by the transport."""
        onward = self._tap.take(bytes(data), self._loop.time())
        if onward:
            super().feed_data(onward)

    @property
    def unsent(self) -> int:
        """How many bytes wait to be written."""
        return 0 if self._socket is None else self._socket.get_write_buffer_size()

    def set_transport(self, transport: asyncio.BaseTransport) -> None:
        """Take the connected socket; called by the protocol."""
        super().set_transport(transport)
        self._socket = cast("asyncio.Transport", transport)

    def feed_eof(self) -> None:
        """Take note that the connection has ended; called by the transport."""
        self._stop_beating()
        super().feed_eof()

    def pause(self) -> None:
        """Read nothing more from the socket; the library is shown heartbeats meanwhile."""
        if self._socket is not None and not self._socket.is_closing():
            self._socket.pause_reading()
            self._beat()

    def resume(self) -> None:
        """Read the socket again."""
        self._stop_beating()
        if self._socket is not None and not self._socket.is_closing():
            self._socket.resume_reading()

    def _beat(self) -> None:
        if self._socket is not None and not self._socket.is_closing():
            super().feed_data(HEARTBEAT)
            self._beating = self._loop.call_later(HEARTBEAT_EVERY, self._beat)

    def _stop_beating(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None


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
