"""The tap on a connection: what it takes, and that it changes nothing else."""

from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame as frames
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from infra.wire import HEARTBEAT, Tap

LARGE = 131_064  # RabbitMQ's frame_max less the frame's own eight bytes


class Taken(NamedTuple):
    tag: int
    redelivered: bool
    exchange: str
    key: str
    header: bytes
    body: bytes


def delivery(
    consumer: str, tag: int, body: bytes, *, channel: int = 1, piece: int = LARGE
) -> list[bytes]:
    """Write a delivery as its frames."""
    method = Basic.Deliver(
        consumer_tag=consumer,
        delivery_tag=tag,
        redelivered=tag % 2 == 0,
        exchange="adrelay.events",
        routing_key="a.b.v1",
    )
    properties = Basic.Properties(message_id=f"m-{tag}", headers={"x": tag})
    header = ContentHeader(body_size=len(body), properties=properties)
    pieces = [body[at : at + piece] for at in range(0, len(body), piece)]
    contents = [frames.marshal(ContentBody(piece), channel) for piece in pieces]
    return [frames.marshal(method, channel), frames.marshal(header, channel), *contents]


def tapped(chunks: list[bytes], clock: float = 0.0) -> tuple[list[Taken], bytes]:
    """Let chunks pass a tap that knows the consumer ``ours``."""
    taken: list[Taken] = []
    tap = Tap()
    tap.add("ours", lambda *values: taken.append(Taken(*values)))
    return taken, b"".join(tap.take(chunk, clock) for chunk in chunks)


def test_a_delivery_of_a_known_consumer_is_taken_whole() -> None:
    taken, onward = tapped([b"".join(delivery("ours", 4, b"body"))])
    assert onward == b""
    [message] = taken
    assert message[:4] == (4, True, "adrelay.events", "a.b.v1")
    assert message.body == b"body"
    header = ContentHeader()
    header.unmarshal(message.header)
    assert header.properties.message_id == "m-4"
    assert header.properties.headers == {"x": 4}


def test_an_empty_body_and_one_of_many_frames_are_taken() -> None:
    parts = delivery("ours", 1, b"") + delivery("ours", 2, b"0123456789", piece=3)
    taken, onward = tapped(parts)
    assert [message.body for message in taken] == [b"", b"0123456789"]
    assert onward == b""


def test_what_is_for_others_goes_onward_unchanged() -> None:
    others = [
        *delivery("theirs", 1, b"other"),
        frames.marshal(Basic.Ack(7, multiple=True), 1),
        HEARTBEAT,
    ]
    taken, onward = tapped([*others, *delivery("ours", 2, b"mine"), *others])
    assert [message.body for message in taken] == [b"mine"]
    assert onward == b"".join(others) * 2


def test_frames_of_two_channels_may_mingle() -> None:
    one = delivery("ours", 1, b"first", channel=1)
    two = delivery("ours", 2, b"second", channel=2)
    three = delivery("theirs", 3, b"third", channel=3)
    mingled = [part for parts in zip(one, two, three, strict=True) for part in parts]
    taken, onward = tapped(mingled)
    assert [message.body for message in taken] == [b"first", b"second"]
    assert onward == b"".join(three)


@pytest.mark.parametrize("start", [b"AMQP\x00\x00\x09\x01", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_bytes_that_are_no_frames_go_onward_for_the_library_to_judge(start: bytes) -> None:
    rest = b"".join(delivery("ours", 1, b"never taken"))
    assert tapped([start, rest]) == ([], start + rest)


def test_a_consumer_that_is_no_longer_known_is_not_served() -> None:
    taken: list[Taken] = []
    tap = Tap()
    tap.add("ours", lambda *values: taken.append(Taken(*values)))
    tap.remove("ours")
    sent = b"".join(delivery("ours", 1, b"late"))
    assert tap.take(sent, 0) == sent
    assert taken == []


def test_the_library_is_shown_a_heartbeat_for_the_frames_that_it_does_not_see() -> None:
    tap = Tap()
    tap.add("ours", lambda *_: None)
    one = b"".join(delivery("ours", 1, b"x"))
    seen = [tap.take(one, clock) for clock in (10.0, 10.5, 10.9, 11.5)]
    assert seen == [HEARTBEAT, b"", b"", HEARTBEAT]
    assert tap.take(HEARTBEAT, 99.0) == HEARTBEAT


@given(
    st.lists(
        st.tuples(st.sampled_from(["ours", "theirs"]), st.binary(max_size=40)),
        min_size=1,
        max_size=8,
    ),
    st.lists(st.integers(min_value=0, max_value=2000), max_size=30),
)
def test_however_the_bytes_are_cut_the_same_is_taken(
    sent: list[tuple[str, bytes]], cuts: list[int]
) -> None:
    stream = b""
    onward = b""
    for tag, (consumer, body) in enumerate(sent, 1):
        written = b"".join(delivery(consumer, tag, body, piece=7))
        stream += written
        onward += written if consumer == "theirs" else b""
    marks = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[a:b] for a, b in pairwise(marks)]
    taken, passed = tapped(chunks)
    assert [message.body for message in taken] == [b for c, b in sent if c == "ours"]
    assert passed == onward
