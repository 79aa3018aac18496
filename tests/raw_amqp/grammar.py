"""AMQP 0-9-1 as bytes: field values, tables, properties, frames (sections 2.3.5, 4.2.5, 4.2.6).

Nothing is checked: what the grammar forbids can be written too. Names and texts are bytes.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
FRAME_END = b"\xce"
PROTOCOL = b"AMQP\x00\x00\x09\x01"
FRAME_MAX = 131_072  # bytes of a frame, its eight bytes of framing among them
FRAMING = 8
BASIC, PUBLISH = 60, 40
MORE = 1  # in a word of flags: another word follows


@dataclass(frozen=True, slots=True)
class Value:
    """A field value: the letter of its type, and the bytes that follow the letter."""

    kind: bytes
    raw: bytes

    @property
    def written(self) -> bytes:
        """The value as it stands in a table or an array."""
        return self.kind + self.raw

    @property
    def text(self) -> bytes:
        """What is in a string, a byte array, a table or an array, without its length."""
        return self.raw[4:]


Table = Sequence[tuple[bytes, Value]]


def octets(kind: bytes, content: bytes) -> Value:
    """Write a value that begins with its length: S, x, F, A."""
    return Value(kind, struct.pack(">I", len(content)) + content)


def number(kind: bytes, packing: str, value: float) -> Value:
    """Write a number: ``number(b"l", "q", 1)``."""
    return Value(kind, struct.pack(f">{packing}", value))


def string(text: bytes) -> Value:
    """Write a long string."""
    return octets(b"S", text)


def timestamp(seconds: int) -> Value:
    """Write a time, in seconds since 1970 (64 bits, without a sign)."""
    return number(b"T", "Q", seconds)


def decimal(scale: int, value: int) -> Value:
    """Write a decimal: ``value`` (32 bits) with ``scale`` places."""
    return Value(b"D", struct.pack(">Bi", scale, value))


def fields(table: Table) -> bytes:
    """Write the fields of a table, without its length."""
    return b"".join(short(name) + value.written for name, value in table)


def table(content: Table) -> Value:
    """Write a table as a field value."""
    return octets(b"F", fields(content))


def array(values: Iterable[Value]) -> Value:
    """Write an array."""
    return octets(b"A", b"".join(value.written for value in values))


def nested(depth: int, name: bytes = b"n") -> Value:
    """Write tables in each other, so many deep."""
    content = b""
    for _ in range(depth):
        content = short(name) + b"F" + struct.pack(">I", len(content)) + content
    return octets(b"F", content)


def short(text: bytes) -> bytes:
    """Write a short string; one of more than 255 bytes raises ``struct.error``."""
    return struct.pack("B", len(text)) + text


@dataclass(frozen=True, slots=True)
class Properties:
    """The properties of a message in their order; ``None`` is not written.

    ``more_flags`` are further words of flags, which name no property that exists.
    """

    content_type: bytes | None = None
    content_encoding: bytes | None = None
    headers: Table | None = None
    delivery_mode: int | None = None
    priority: int | None = None
    correlation_id: bytes | None = None
    reply_to: bytes | None = None
    expiration: bytes | None = None
    message_id: bytes | None = None
    timestamp: int | None = None
    type: bytes | None = None
    user_id: bytes | None = None
    app_id: bytes | None = None
    cluster_id: bytes | None = None
    more_flags: tuple[int, ...] = ()

    @property
    def written(self) -> bytes:
        """Words of flags, then the properties that are there."""
        headers = None if self.headers is None else octets(b"F", fields(self.headers)).raw
        parts = (
            _text(self.content_type),
            _text(self.content_encoding),
            headers,
            _octet(self.delivery_mode),
            _octet(self.priority),
            *map(_text, (self.correlation_id, self.reply_to, self.expiration, self.message_id)),
            None if self.timestamp is None else struct.pack(">Q", self.timestamp),
            *map(_text, (self.type, self.user_id, self.app_id, self.cluster_id)),
        )
        flags = sum(1 << (15 - place) for place, part in enumerate(parts) if part is not None)
        words = [flags | (MORE if self.more_flags else 0), *self.more_flags]
        packed = b"".join(struct.pack(">H", word) for word in words)
        return packed + b"".join(part for part in parts if part is not None)


@dataclass(frozen=True, slots=True)
class Publish:
    """One publish: ``bits`` are mandatory (1) and immediate (2); ``piece`` is the size of a
    body frame; ``size`` is the body's size as the header claims it, when that is a lie."""

    exchange: bytes
    key: bytes
    properties: Properties
    body: bytes
    bits: int = 1
    piece: int = FRAME_MAX - FRAMING
    size: int | None = None

    def frames(self, channel: int) -> bytes:
        """Write the frames of the publish."""
        size = len(self.body) if self.size is None else self.size
        method = struct.pack(">HHH", BASIC, PUBLISH, 0) + short(self.exchange) + short(self.key)
        header = struct.pack(">HHQ", BASIC, 0, size) + self.properties.written
        starts = range(0, len(self.body), self.piece)
        pieces = [frame(BODY, channel, self.body[at : at + self.piece]) for at in starts]
        first = frame(METHOD, channel, method + bytes((self.bits,)))
        return b"".join((first, frame(HEADER, channel, header), *pieces))


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """Write a frame."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + FRAME_END


def method(channel: int, class_id: int, method_id: int, arguments: bytes = b"") -> bytes:
    """Write the frame of a method."""
    return frame(METHOD, channel, struct.pack(">HH", class_id, method_id) + arguments)


def _text(text: bytes | None) -> bytes | None:
    return None if text is None else short(text)


def _octet(value: int | None) -> bytes | None:
    return None if value is None else bytes((value,))
