"""The user id among the bytes of a content header: what pamqp finds there, and nothing else."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from infra.frames import FRAME, HEADER, frames_of, signature_of
from infra.message import Message
from infra.properties import user_id_in

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
    assert user_id_in(header) == decoded(header)


@given(properties, st.data())
def test_a_header_that_is_cut_off_raises_nothing(
    properties: Basic.Properties, data: st.DataObject
) -> None:
    header = header_of(properties)
    cut = data.draw(st.integers(0, len(header) - 1))
    assert user_id_in(header[:cut]) in (None, decoded(header))


@given(st.binary(max_size=80))
def test_no_bytes_raise_anything(header: bytes) -> None:
    user_id_in(header)


def test_more_words_of_flags_are_passed() -> None:
    header = header_of(Basic.Properties(content_type="x", user_id="crm"))
    flags = int.from_bytes(header[12:14])
    longer = header[:12] + (flags | 1).to_bytes(2) + b"\x00\x01\x00\x00" + header[14:]
    assert user_id_in(longer) == "crm"


def test_what_we_publish_is_signed() -> None:
    message = Message("x", "k", b"", "m-1", headers={"traceparent": "0"}, type="t")
    signature = signature_of("adrelay-ümläut")
    frames = frames_of(message, channel=1, message_id="m-1", now=0, signature=signature)
    _, _, method = FRAME.unpack_from(frames)
    at = FRAME.size + method + 1
    kind, _, size = FRAME.unpack_from(frames, at)
    assert kind == HEADER
    assert user_id_in(frames[at + FRAME.size :][:size]) == "adrelay-ümläut"


def test_a_name_that_is_no_utf8_is_nobody_elses() -> None:
    fields: dict[str, Any] = {"user_id": "xx"}
    header = header_of(Basic.Properties(**fields)).replace(b"\x02xx", b"\x02\xff\xfe")
    assert user_id_in(header) == r"\xff\xfe"
