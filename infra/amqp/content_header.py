"""The content header of a message (AMQP 0-9-1, section 4.2.6.1), decoded whatever it contains.

A content header says in flags which properties follow, and has them in a fixed order. RabbitMQ
passes on what publishers write: short strings that are not UTF-8, timestamps beyond any
calendar, tables in tables in tables. So nothing here raises. What is not UTF-8 becomes text with
its bytes in hexadecimal (backslash, ``xff``) in names and properties, and ``Undecodable`` as a
header's value; what is cut off or of an unknown type ends its table; what is nested too deeply
becomes a text that says so.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

FLAGS = 12  # class id, weight and size of the body come before them
MORE = 1  # another word of flags follows
CONTENT_TYPE, CONTENT_ENCODING, HEADERS = 1 << 15, 1 << 14, 1 << 13
DELIVERY_MODE, PRIORITY = 1 << 12, 1 << 11
OCTETS = DELIVERY_MODE | PRIORITY
CORRELATION_ID, REPLY_TO, EXPIRATION, MESSAGE_ID = 1 << 10, 1 << 9, 1 << 8, 1 << 7
TIMESTAMP, TYPE, USER_ID, APP_ID = 1 << 6, 1 << 5, 1 << 4, 1 << 3
TEXTS_BEFORE = (CONTENT_TYPE, CONTENT_ENCODING)
TEXTS_AFTER = (CORRELATION_ID, REPLY_TO, EXPIRATION, MESSAGE_ID)

MAX_DEPTH = 16  # tables and arrays in each other
MAX_TIMESTAMP = 253_402_300_799  # seconds since 1970: the end of the year 9999


class Undecodable(bytes):
    """The bytes of a header's text that is not UTF-8."""

    __slots__ = ()

    def __str__(self) -> str:
        """Show the text with the bytes that are not UTF-8 in hexadecimal."""
        return self.decode(errors="backslashreplace")


NO_HEADERS: Mapping[str, Any] = MappingProxyType({})


class Properties(NamedTuple):
    """The properties of a message; ``timestamp`` is in seconds since 1970 (0 to 2**64-1).

    Values of ``headers`` are bool, int, float, Decimal, str, ``Undecodable``, bytes (a byte
    array), aware UTC datetime (int beyond the year 9999), list, dict or None.
    """

    content_type: str | None = None
    content_encoding: str | None = None
    headers: Mapping[str, Any] = NO_HEADERS
    delivery_mode: int | None = None
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: str | None = None
    message_id: str | None = None
    timestamp: int | None = None
    message_type: str | None = None
    user_id: str | None = None
    app_id: str | None = None


class CutOff(Exception):
    """The bytes end before what they announce; never leaves this module."""


def decode_content_header(header: bytes) -> Properties:
    """Decode the payload of a content header frame; never raises."""
    found: dict[str, Any] = {"headers": {}}
    end = len(header)
    try:
        flags, at = _number(header, FLAGS, end, 2)
        more = flags
        while more & MORE:
            more, at = _number(header, at, end, 2)
        for name, read in _list_readers(flags):
            found[name], at = read(header, at, end)
    except CutOff:
        pass
    return Properties(**found)


def _number(data: bytes, at: int, end: int, size: int) -> tuple[int, int]:
    """Read an unsigned number of ``size`` bytes; gives it and where it ends."""
    stop = at + size
    if stop > end:
        raise CutOff
    return int.from_bytes(data[at:stop]), stop


def _octet(data: bytes, at: int, end: int) -> tuple[int, int]:
    return _number(data, at, end, 1)


def _long(data: bytes, at: int, end: int) -> tuple[int, int]:
    return _number(data, at, end, 8)


def _short(data: bytes, at: int, end: int) -> tuple[str, int]:
    """Read a short string; gives it and where it ends."""
    stop = at + 1 + data[at] if at < end else end + 1
    if stop > end:
        raise CutOff
    return data[at + 1 : stop].decode(errors="backslashreplace"), stop


def _sized(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Find what a 4-byte length announces; gives where it begins and ends."""
    start = at + 4
    stop = start + int.from_bytes(data[at:start])
    if stop > end:
        raise CutOff
    return start, stop


def _headers(data: bytes, at: int, end: int) -> tuple[dict[str, Any], int]:
    start, stop = _sized(data, at, end)
    return _table(data, start, stop, MAX_DEPTH), stop


def _table(data: bytes, at: int, end: int, depth: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    try:
        while at < end:
            name, at = _short(data, at, end)
            values[name], at = _value(data, at, end, depth)
    except CutOff:
        pass
    return values


def _array(data: bytes, at: int, end: int, depth: int) -> list[Any]:
    values: list[Any] = []
    try:
        while at < end:
            value, at = _value(data, at, end, depth)
            values.append(value)
    except CutOff:
        pass
    return values


def _value(data: bytes, at: int, end: int, depth: int) -> tuple[Any, int]:
    """Read a field's type and value; gives the value and where it ends."""
    kind = data[at : at + 1] if at < end else b""
    at += 1
    if kind in SIZED:
        start, stop = _sized(data, at, end)
        return SIZED[kind](data, start, stop, depth), stop
    size, read = FIXED.get(kind, UNKNOWN_KIND)
    stop = at + size
    if stop > end:
        raise CutOff
    return read(data[at:stop]), stop


def _text_value(data: bytes, at: int, end: int, _depth: int) -> str | Undecodable:
    raw = data[at:end]
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return Undecodable(raw)


def _byte_array(data: bytes, at: int, end: int, _depth: int) -> bytes:
    return data[at:end]


def _nested_table(data: bytes, at: int, end: int, depth: int) -> dict[str, Any] | str:
    return _table(data, at, end, depth - 1) if depth else _too_deep(end - at)


def _nested_array(data: bytes, at: int, end: int, depth: int) -> list[Any] | str:
    return _array(data, at, end, depth - 1) if depth else _too_deep(end - at)


def _too_deep(size: int) -> str:
    return f"(nested more than {MAX_DEPTH} deep: {size} bytes)"


def _time(raw: bytes) -> datetime | int:
    seconds = int.from_bytes(raw)
    return datetime.fromtimestamp(seconds, UTC) if seconds <= MAX_TIMESTAMP else seconds


def _decimal(raw: bytes) -> Decimal:
    return Decimal(int.from_bytes(raw[1:])).scaleb(-raw[0])


def _packed(layout: str) -> Callable[[bytes], Any]:
    packed = struct.Struct(layout)
    return lambda raw: packed.unpack(raw)[0]


# Field types of RabbitMQ (https://www.rabbitmq.com/amqp-0-9-1-errata#section_3).
FIXED: dict[bytes, tuple[int, Callable[[bytes], Any]]] = {
    b"b": (1, _packed(">b")),
    b"B": (1, _packed(">B")),
    b"s": (2, _packed(">h")),
    b"u": (2, _packed(">H")),
    b"I": (4, _packed(">i")),
    b"i": (4, _packed(">I")),
    b"l": (8, _packed(">q")),
    b"L": (8, _packed(">q")),
    b"f": (4, _packed(">f")),
    b"d": (8, _packed(">d")),
    b"t": (1, lambda raw: raw != b"\0"),
    b"T": (8, _time),
    b"D": (5, _decimal),
    b"V": (0, lambda _: None),
}
UNKNOWN_KIND: tuple[int, Callable[[bytes], Any]] = (2**63, bytes)  # longer than any header
SIZED: dict[bytes, Callable[[bytes, int, int, int], Any]] = {
    b"S": _text_value,
    b"x": _byte_array,
    b"F": _nested_table,
    b"A": _nested_array,
}

ValueReader = Callable[[bytes, int, int], tuple[Any, int]]
READERS: tuple[tuple[int, str, ValueReader], ...] = (
    (CONTENT_TYPE, "content_type", _short),
    (CONTENT_ENCODING, "content_encoding", _short),
    (HEADERS, "headers", _headers),
    (DELIVERY_MODE, "delivery_mode", _octet),
    (PRIORITY, "priority", _octet),
    (CORRELATION_ID, "correlation_id", _short),
    (REPLY_TO, "reply_to", _short),
    (EXPIRATION, "expiration", _short),
    (MESSAGE_ID, "message_id", _short),
    (TIMESTAMP, "timestamp", _long),
    (TYPE, "message_type", _short),
    (USER_ID, "user_id", _short),
    (APP_ID, "app_id", _short),
)


@lru_cache(maxsize=64)
def _list_readers(flags: int) -> Sequence[tuple[str, ValueReader]]:
    return [(name, read) for flag, name, read in READERS if flags & flag]


class Publication(NamedTuple):
    """Who published a message, and its ``timestamp`` in seconds since 1970."""

    user_id: str | None
    timestamp: int | None


UNKNOWN = Publication(None, None)


def read_user_id(header: bytes) -> str | None:
    """Read the property ``user_id`` alone; None where there is none, or the header is cut off."""
    return read_publication(header).user_id


def read_publication(header: bytes) -> Publication:
    """Read the properties ``user_id`` and ``timestamp``; both are None without a user.

    The broker has checked that it is the user of the publishing connection
    (https://www.rabbitmq.com/docs/validated-user-id). A walk over the properties before it
    finds it: the same bytes may stand in any property that a publisher writes.
    """
    try:
        return _find_publication(header)
    except IndexError:  # cut off
        return UNKNOWN


def _find_publication(header: bytes) -> Publication:
    flags = more = header[FLAGS] << 8 | header[FLAGS + 1]
    if not flags & USER_ID:
        return UNKNOWN
    at = FLAGS + 2
    while more & MORE:
        more = header[at] << 8 | header[at + 1]
        at += 2
    for text in TEXTS_BEFORE:
        if flags & text:
            at += 1 + header[at]
    if flags & HEADERS:
        at += 4 + int.from_bytes(header[at : at + 4])
    at += (flags & OCTETS).bit_count()
    for text in TEXTS_AFTER:
        if flags & text:
            at += 1 + header[at]
    timestamp = None
    if flags & TIMESTAMP:
        timestamp = int.from_bytes(header[at : at + 8])
        at += 8
    if flags & TYPE:
        at += 1 + header[at]
    end = at + 1 + header[at]
    return Publication(_text(header[at + 1 : end]), timestamp) if end <= len(header) else UNKNOWN


@lru_cache(maxsize=64)
def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")
