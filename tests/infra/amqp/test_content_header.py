"""Content headers: what pamqp finds in sound ones, and something for any bytes at all."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from infra.amqp.content_header import (
    CONTENT_ENCODING,
    CONTENT_TYPE,
    CORRELATION_ID,
    HEADERS,
    MAX_DEPTH,
    MESSAGE_ID,
    REPLY_TO,
    TIMESTAMP,
    TYPE,
    USER_ID,
    Undecodable,
    decode_content_header,
    read_user_id,
)
from infra.amqp.frame_encoder import FRAME, HEADER, encode_publish, encode_publisher_properties
from infra.amqp.message import Message

short = st.text(max_size=60)
maybe = st.none() | short
# Among them what looks like the end of a header that somebody else has signed.
forged = st.sampled_from(["\x0fadrelay-workers\x07adrelay", "\x0fadrelay-workers", "\x00" * 9])
values = st.none() | st.booleans() | st.integers(-(2**31), 2**31 - 1) | short | forged
tables = st.recursive(
    st.dictionaries(short, values, max_size=3),
    lambda inner: st.dictionaries(short, inner | st.lists(values, max_size=3), max_size=3),
    max_leaves=6,
)
times = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)).map(  # noqa: DTZ001 - made aware below
    lambda time: time.replace(microsecond=0, tzinfo=UTC)
)
properties = st.builds(
    Basic.Properties,
    content_type=maybe | forged,
    content_encoding=maybe,
    headers=st.none() | tables,
    delivery_mode=st.none() | st.sampled_from([1, 2]),
    priority=st.none() | st.integers(0, 31),
    correlation_id=maybe | forged,
    reply_to=maybe,
    expiration=st.none() | st.integers(0, 10**9).map(str),
    message_id=maybe,
    timestamp=st.none() | times,
    message_type=maybe,
    user_id=maybe,
    app_id=maybe | forged,
)


def header_of(properties: Basic.Properties) -> bytes:
    return ContentHeader(body_size=7, properties=properties).marshal()


def decoded(header: bytes) -> str | None:
    found = ContentHeader()
    found.unmarshal(header)
    user: str | None = found.properties.user_id
    return user


@given(properties)
def test_it_is_what_the_library_decodes(properties: Basic.Properties) -> None:
    header = header_of(properties)
    assert read_user_id(header) == decoded(header)


@given(properties, st.data())
def test_a_header_that_is_cut_off_raises_nothing(
    properties: Basic.Properties, data: st.DataObject
) -> None:
    header = header_of(properties)
    cut = data.draw(st.integers(0, len(header) - 1))
    assert read_user_id(header[:cut]) in (None, decoded(header))


@given(st.binary(max_size=80))
def test_no_bytes_raise_anything(header: bytes) -> None:
    read_user_id(header)


def test_more_words_of_flags_are_passed() -> None:
    header = header_of(Basic.Properties(content_type="x", user_id="crm"))
    flags = int.from_bytes(header[12:14])
    longer = header[:12] + (flags | 1).to_bytes(2) + b"\x00\x01\x00\x00" + header[14:]
    assert read_user_id(longer) == "crm"


def test_what_we_publish_is_signed() -> None:
    message = Message("x", "k", b"", "m-1", headers={"traceparent": "0"}, type="t")
    signature = encode_publisher_properties("adrelay-ümläut")
    frames = encode_publish(message, channel=1, message_id="m-1", now=0, signature=signature)
    _, _, method = FRAME.unpack_from(frames)
    at = FRAME.size + method + 1
    kind, _, size = FRAME.unpack_from(frames, at)
    assert kind == HEADER
    assert read_user_id(frames[at + FRAME.size :][:size]) == "adrelay-ümläut"


def test_a_name_that_is_no_utf8_is_nobody_elses() -> None:
    fields: dict[str, Any] = {"user_id": "xx"}
    header = header_of(Basic.Properties(**fields)).replace(b"\x02xx", b"\x02\xff\xfe")
    assert read_user_id(header) == r"\xff\xfe"


def raw(properties: dict[int, bytes]) -> bytes:
    """Write a content header with properties as bytes, by their flags."""
    flags = sum(properties)
    written = b"".join(properties[flag] for flag in sorted(properties, reverse=True))
    return b"\x00\x3c\x00\x00" + (0).to_bytes(8) + flags.to_bytes(2) + written


def table(*fields: bytes) -> bytes:
    written = b"".join(fields)
    return len(written).to_bytes(4) + written


def field(name: bytes, kind: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + kind + value


def text(value: bytes) -> bytes:
    return len(value).to_bytes(4) + value


@given(properties)
def test_it_decodes_what_the_library_does(properties: Basic.Properties) -> None:
    header = header_of(properties)
    library = ContentHeader()
    library.unmarshal(header)
    found = decode_content_header(header)
    for name in ("content_type", "correlation_id", "reply_to", "message_id", "message_type"):
        assert (getattr(found, name) or "") == (getattr(library.properties, name) or "")
    assert found.headers == (library.properties.headers or {})


@given(st.binary(max_size=300), st.integers(0, 2**16 - 1))
def test_no_bytes_at_all_raise_anything(rest: bytes, flags: int) -> None:
    decode_content_header(rest)
    decode_content_header(bytes(12) + flags.to_bytes(2) + rest)
    decode_content_header(raw({HEADERS: table(rest)}))


@pytest.mark.parametrize("flag", [CONTENT_TYPE, CONTENT_ENCODING, CORRELATION_ID, REPLY_TO, TYPE])
def test_text_that_is_not_utf8_is_shown_in_hexadecimal(flag: int) -> None:
    found = decode_content_header(raw({flag: b"\x03a\xff\xfe", MESSAGE_ID: b"\x02\xc3("}))
    assert r"a\xff\xfe" in (
        found.content_type,
        found.content_encoding,
        found.correlation_id,
        found.reply_to,
        found.message_type,
    )
    assert found.message_id == r"\xc3("


@pytest.mark.parametrize("seconds", [0, 1732262400000000000, 2**63, 2**64 - 1])
def test_any_timestamp_is_a_number(seconds: int) -> None:
    found = decode_content_header(raw({TIMESTAMP: seconds.to_bytes(8), USER_ID: b"\x01u"}))
    assert (found.timestamp, found.user_id) == (seconds, "u")
    headers = raw({HEADERS: table(field(b"at", b"T", seconds.to_bytes(8)))})
    at = decode_content_header(headers).headers["at"]
    assert at == (datetime(1970, 1, 1, tzinfo=UTC) if seconds == 0 else seconds)


def test_names_and_values_that_are_not_utf8_stay_apart_from_text() -> None:
    fields = (field(b"\xff", b"S", text(b"x")), field(b"a", b"S", text(b"\xff")))
    found = decode_content_header(raw({HEADERS: table(*fields)})).headers
    assert found == {r"\xff": "x", "a": b"\xff"}
    assert isinstance(found["a"], Undecodable)
    assert str(found["a"]) == r"\xff"


def test_tables_in_tables_end_at_a_depth() -> None:
    inner = table()
    for _ in range(3000):
        inner = table(field(b"t", b"F", inner))
    found = decode_content_header(raw({HEADERS: inner, MESSAGE_ID: b"\x01m"}))
    assert found.message_id == "m"
    depth, value = 0, found.headers
    while isinstance(value, dict):
        depth, value = depth + 1, value["t"]
    assert (depth, str(value)[:20]) == (MAX_DEPTH + 1, "(nested more than 16")


def test_an_unknown_field_type_ends_its_table_alone() -> None:
    nested = table(field(b"x", b"?", b""), field(b"lost", b"t", b"\x01"))
    fields = (field(b"n", b"F", nested), field(b"kept", b"t", b"\x01"))
    found = decode_content_header(raw({HEADERS: table(*fields), MESSAGE_ID: b"\x01m"}))
    assert (found.headers, found.message_id) == ({"n": {}, "kept": True}, "m")
