"""Deliveries taken straight off the socket, before the client library's general path.

aiormq reads a delivery as three awaited frames, decodes every property, and starts a task
for it. That is most of what a message costs. A ``DeliveryParser`` reads the incoming bytes first:
it hands the deliveries of registered consumers over at once, in order, without a task; every
other byte goes on to aiormq unchanged. (AMQP 0-9-1, sections 2.3.5 and 4.2.)

The library notices a dead connection by the frames it sees; for the frames that it does not
see, it is shown a heartbeat now and then. No other delivery reaches the library either: it
ends the connection at the first property that it cannot decode.

Of a body larger than ``keep`` bytes only the beginning is kept, with its length and its hash;
and while too many bytes of deliveries are in hand, the socket is not read
(``infra.amqp.flow_control``).
"""

import struct

from infra.amqp.flow_control import HeldBytes
from infra.amqp.partial_delivery import DeliveryCallback, PartialDelivery

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


class DeliveryParser:
    """Divides a connection's bytes: deliveries to their consumers, the rest onward."""

    def __init__(self, keep: int = 2**63) -> None:
        """Begin without consumers; of each body at most ``keep`` bytes are kept."""
        self.held = HeldBytes()
        self._keep = keep
        self._sinks: dict[bytes, DeliveryCallback] = {}
        self._getters: dict[int, DeliveryCallback] = {}
        self._answered: list[bytes] = []  # for the library, which waits for an answer
        self._partial: dict[int, PartialDelivery] = {}
        self._pending = b""
        self._names: dict[bytes, str] = {}
        self._broken = False
        self._last_heartbeat = 0.0

    def add(self, consumer_tag: str, sink: DeliveryCallback) -> None:
        """Hand deliveries to ``consumer_tag`` over to ``sink``, from the reader itself."""
        self._sinks[consumer_tag.encode()] = sink

    def remove(self, consumer_tag: str) -> None:
        """Drop what still comes for the consumer: unacknowledged, the broker keeps it."""
        self._sinks.pop(consumer_tag.encode(), None)

    def add_getter(self, channel: int, sink: DeliveryCallback) -> None:
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
                # Not a frame to parse: the library reports what is wrong.
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
            partial.header = data[start:stop]
            partial.length = partial.missing = length
        elif partial.length <= self._keep:
            partial.chunks.append(data[start:stop])
            partial.missing -= stop - start
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
        self,
        channel: int,
        data: bytes,
        at: int,
        sink: DeliveryCallback | None,
        *,
        is_get: bool = False,
    ) -> None:
        tag, redelivered = TAGGED.unpack_from(data, at)
        exchange, at = _short(data, at + TAGGED.size)
        key, at = _short(data, at)
        self._partial[channel] = PartialDelivery(
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
