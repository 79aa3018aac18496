"""Publishes as bytes: the same bytes that the client library would write."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from infra.amqp.frame_encoder import MAX_FIELD_NAME, encode_publish, encode_publisher_properties
from infra.amqp.message import Message

USER = "adrelay-ümläut"
short = st.text(max_size=60)
maybe = st.none() | short
values = st.none() | st.booleans() | st.integers(-(2**31), 2**31 - 1) | short
names = st.text(max_size=60).filter(lambda name: len(name.encode()) <= MAX_FIELD_NAME)
messages = st.builds(
    Message,
    exchange=st.text("abc.", max_size=20),
    routing_key=short,
    body=st.binary(max_size=300),
    message_id=st.text(min_size=1, max_size=60),
    type=maybe,
    correlation_id=maybe,
    content_type=short,
    headers=st.dictionaries(names, values, max_size=3),
    expiration_ms=st.none() | st.integers(0, 10**9),
    reply_to=maybe,
    persistent=st.booleans(),
    mandatory=st.booleans(),
)


def as_the_library_writes(message: Message, channel: int, now: int, most: int) -> bytes:
    properties = message.properties(USER)
    properties.timestamp = datetime.fromtimestamp(now, UTC)
    parts: list[Any] = [
        Basic.Publish(
            exchange=message.exchange,
            routing_key=message.routing_key,
            mandatory=message.mandatory,
        ),
        ContentHeader(body_size=len(message.body), properties=properties),
        *(
            ContentBody(message.body[start : start + most])
            for start in range(0, len(message.body), most)
        ),
    ]
    return b"".join(frame.marshal(part, channel) for part in parts)


@given(
    message=messages,
    channel=st.integers(1, 65535),
    now=st.integers(0, 4 * 10**9),
    most=st.integers(1, 400),
)
def test_a_publish_has_the_bytes_that_the_library_would_write(
    message: Message, channel: int, now: int, most: int
) -> None:
    written = encode_publish(
        message,
        channel=channel,
        message_id=message.message_id,
        now=now,
        signature=encode_publisher_properties(USER),
        most=most,
    )
    assert written == as_the_library_writes(message, channel, now, most)


def test_a_property_that_is_too_long_is_refused_before_anything_is_written() -> None:
    with pytest.raises(ValueError, match="255 bytes"):
        encode_publish(
            Message("x", "k" * 256, b"", "m"), channel=1, message_id="m", now=0, signature=b""
        )
