"""Publishes as bytes (AMQP 0-9-1, sections 2.3.5 and 4.2.6): what goes onto the wire, pure.

A publish is a method frame, a content header and the body in as many frames as it takes.
"""

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pamqp import encode

from infra.amqp.message import APP_ID, PERSISTENT, TRANSIENT, Message

METHOD, HEADER, BODY = 1, 2, 3
FRAME = struct.Struct(">BHI")  # type, channel, size of the payload
FRAME_END = b"\xce"
PUBLISH = struct.pack(">HHH", 60, 40, 0)  # basic.publish, reserved
CONTENT = struct.Struct(">HHQH")  # basic, weight, size of the body, which properties follow
TIMESTAMP = struct.Struct(">Q")
LONG = struct.Struct(">I")
MANDATORY = 1
MAX_LONG = 2**32  # integers from here on are written in eight bytes
MAX_LONG_LONG = 2**63
MAX_SHORT_STRING = 255  # bytes of a short string
MAX_FIELD_NAME = 128  # bytes (AMQP 0-9-1, section 4.2.5.5)
FRAME_BYTES = 131_064  # RabbitMQ's frame_max less what surrounds a frame's payload
MAX_BODY_BYTES = 16 * 1024 * 1024  # what RabbitMQ takes from 4.0 on (max_message_size)

# Which properties there are, as bits, in the order in which they are written.
CONTENT_TYPE, HEADERS, DELIVERY_MODE = 1 << 15, 1 << 13, 1 << 12
CORRELATION_ID, REPLY_TO, EXPIRATION = 1 << 10, 1 << 9, 1 << 8
MESSAGE_ID, SENT_AT, TYPE = 1 << 7, 1 << 6, 1 << 5
USER_ID, APP = 1 << 4, 1 << 3


def encode_publisher_properties(user: str) -> bytes:
    """Write what every publish on a connection ends with: who publishes.

    ``user`` is the user of the connection; the broker closes the channel for any other.
    Raises ``ValueError`` when it has more than 255 bytes.
    """
    return _short(user) + _short(APP_ID)


def encode_publish(
    message: Message,
    *,
    channel: int,
    message_id: str,
    now: int,
    signature: bytes,
    most: int = FRAME_BYTES,
    most_header: int = FRAME_BYTES,
) -> bytes:
    """Write a publish as the bytes of its frames.

    ``now`` is seconds since 1970, ``signature`` what ``encode_publisher_properties`` made of the
    connection's user, ``most`` the largest piece of a body and ``most_header`` the largest content
    header, in bytes. Raises ``ValueError`` when a property has more than 255 bytes, the name of a
    field of ``headers`` more than 128, the header is larger, or the body has more than 16 MiB:
    each of them would close the connection.
    """
    body = message.body
    if len(body) > MAX_BODY_BYTES:
        raise ValueError(f"its body has {len(body)} bytes, the limit is {MAX_BODY_BYTES}")
    content = _content(message, message_id, now, signature)
    if len(content) > most_header:
        raise ValueError(f"its properties have {len(content)} bytes, the limit is {most_header}")
    method = _method(channel, message.exchange, message.routing_key, message.mandatory)
    header = _frame(HEADER, channel, content)
    starts = range(0, len(body), most)
    parts = [_frame(BODY, channel, body[start : start + most]) for start in starts]
    return b"".join((method, header, *parts))


@lru_cache(maxsize=1024)
def _method(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:  # noqa: FBT001 - a key of the cache
    bits = bytes((MANDATORY if mandatory else 0,))
    return _frame(METHOD, channel, PUBLISH + _short(exchange) + _short(routing_key) + bits)


def _content(message: Message, message_id: str, now: int, signature: bytes) -> bytes:
    flags = DELIVERY_MODE | MESSAGE_ID | SENT_AT | USER_ID | APP
    values: list[bytes] = []
    if message.content_type:
        flags |= CONTENT_TYPE
        values.append(_word(message.content_type))
    if message.headers:
        flags |= HEADERS
        values.append(_table(message.headers))
    values.append(bytes((PERSISTENT if message.persistent else TRANSIENT,)))
    if message.correlation_id:
        flags |= CORRELATION_ID
        values.append(_short(message.correlation_id))
    if message.reply_to:
        flags |= REPLY_TO
        values.append(_short(message.reply_to))
    if message.expiration_ms is not None:
        flags |= EXPIRATION
        values.append(_short(str(message.expiration_ms)))
    values.append(_short(message_id))
    values.append(TIMESTAMP.pack(now))
    if message.type:
        flags |= TYPE
        values.append(_word(message.type))
    values.append(signature)
    return CONTENT.pack(60, 0, len(message.body), flags) + b"".join(values)


def _table(headers: Mapping[str, Any]) -> bytes:
    """Write a field table; most values are texts."""
    parts: list[bytes] = []
    for name in sorted(headers):
        value = headers[name]
        parts += (_field_name(name), _text(value) if type(value) is str else _value(value))
    fields = b"".join(parts)
    return LONG.pack(len(fields)) + fields


def _value(value: object) -> bytes:
    """Write a value that is no text; most are times in microseconds."""
    if type(value) is int and MAX_LONG < value < MAX_LONG_LONG:
        return b"l" + TIMESTAMP.pack(value)
    return encode.encode_table_value(value)  # type: ignore[arg-type]  # raises for other types


@lru_cache(maxsize=1024)
def _field_name(name: str) -> bytes:
    raw = name.encode()
    if len(raw) > MAX_FIELD_NAME:
        raise ValueError("the name of a header has more than 128 bytes")
    return bytes((len(raw),)) + raw


def _text(value: str) -> bytes:
    raw = value.encode()
    return b"S" + LONG.pack(len(raw)) + raw


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return FRAME.pack(kind, channel, len(payload)) + payload + FRAME_END


@lru_cache(maxsize=1024)
def _word(text: str) -> bytes:
    """Write a short string that comes again and again."""
    return _short(text)


def _short(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > MAX_SHORT_STRING:
        raise ValueError("a property of a message has more than 255 bytes")
    return bytes((len(raw),)) + raw
