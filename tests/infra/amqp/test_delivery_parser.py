"""The tap on a connection: what it takes, and that it changes nothing else."""

import asyncio
import hashlib
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame as frames
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from infra.amqp.delivery_parser import HEARTBEAT, DeliveryParser
from infra.amqp.flow_control import HeldBytes
from infra.amqp.intercepting_reader import InterceptingReader
from infra.amqp.partial_delivery import WholeBody

LARGE = 131_064  # RabbitMQ's frame_max less the frame's own eight bytes


class Taken(NamedTuple):
    tag: int
    redelivered: bool
    exchange: str
    key: str
    header: bytes
    body: bytes
    whole: WholeBody | None


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
    tap = DeliveryParser()
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


def test_of_a_body_beyond_the_limit_the_beginning_is_kept_with_length_and_hash() -> None:
    taken: list[Taken] = []
    tap = DeliveryParser(keep=5)
    tap.add("ours", lambda *values: taken.append(Taken(*values)))
    for body in (b"01234", b"0123456789"):
        tap.take(b"".join(delivery("ours", 1, body, piece=3)), 0)
    assert [message.body for message in taken] == [b"01234", b"01234"]
    whole = WholeBody(10, hashlib.sha256(b"0123456789").hexdigest())
    assert [message.whole for message in taken] == [None, whole]


def test_what_a_get_brings_is_taken_and_the_library_told_that_the_queue_is_empty() -> None:
    _, *content = delivery("nobody", 1, b"body", channel=3)
    answer = Basic.GetOk(
        delivery_tag=5, redelivered=True, exchange="x", routing_key="k", message_count=7
    )
    taken: list[Taken] = []
    tap = DeliveryParser()
    tap.add_getter(3, lambda *values: taken.append(Taken(*values)))
    onward = tap.take(b"".join([frames.marshal(answer, 3), *content]), 0)
    assert onward == frames.marshal(Basic.GetEmpty(), 3)
    assert [(found.tag, found.redelivered, found.body) for found in taken] == [(5, True, b"body")]


def test_what_is_no_delivery_goes_onward_unchanged() -> None:
    others = [frames.marshal(Basic.Ack(7, multiple=True), 1), HEARTBEAT]
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
    assert onward == b""


@pytest.mark.parametrize("start", [b"AMQP\x00\x00\x09\x01", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_bytes_that_are_no_frames_go_onward_for_the_library_to_judge(start: bytes) -> None:
    rest = b"".join(delivery("ours", 1, b"never taken"))
    assert tapped([start, rest]) == ([], start + rest)


def test_a_late_delivery_never_reaches_the_library() -> None:
    taken: list[Taken] = []
    tap = DeliveryParser()
    tap.add("ours", lambda *values: taken.append(Taken(*values)))
    tap.remove("ours")
    assert HEARTBEAT.startswith(tap.take(b"".join(delivery("ours", 1, b"late")), 0))
    assert taken == []


def test_the_library_is_shown_a_heartbeat_for_the_frames_that_it_does_not_see() -> None:
    tap = DeliveryParser()
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
        acknowledged = frames.marshal(Basic.Ack(tag), 1)
        stream += b"".join(delivery(consumer, tag, body, piece=7)) + acknowledged
        onward += acknowledged
    marks = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[a:b] for a, b in pairwise(marks)]
    taken, passed = tapped(chunks)
    assert [message.body for message in taken] == [b for c, b in sent if c == "ours"]
    assert passed == onward


async def test_while_too_much_is_in_hand_the_socket_is_not_read_and_heartbeats_go_on() -> None:
    held = HeldBytes(most=100)
    tap = DeliveryParser()
    tap.held = held
    received = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frames.marshal(Basic.Ack(1), 1))
        await received.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    reader = InterceptingReader(tap, loop)
    held.add(101)  # before there is a socket, nothing can be paused
    held.remove(101)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    port = server.sockets[0].getsockname()[1]
    transport, _ = await loop.create_connection(lambda: protocol, "127.0.0.1", port)
    held.add(101)
    async with asyncio.timeout(5):
        assert await reader.readexactly(2 * len(HEARTBEAT)) == HEARTBEAT * 2
        held.remove(60)
        assert await reader.readexactly(8) == frames.marshal(Basic.Ack(1), 1)[:8]
    received.set()
    transport.close()
    server.close()
    await server.wait_closed()
