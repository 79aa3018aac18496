"""The publishing end of a channel: order, ids, and everybody gets an answer."""

import asyncio
from typing import Any

import pytest
from aio_pika.abc import AbstractConnection

from events import CampaignMetricsReported
from events.base import decode
from infra import topology
from infra.bus import BEHIND, WINDOW, Publisher
from infra.errors import PublishUnknown, Unroutable
from infra.link import Link
from infra.message import Message, message_of
from infra.outgoing import Outgoing
from infra.resources import Resources
from tests.infra.ledger import QUEUE, depth, report, until


async def test_a_large_body_arrives_whole(resources: Resources, broker: AbstractConnection) -> None:
    body = bytes(range(256)) * 4096
    await resources.publisher.publish(Message(topology.DEAD, QUEUE, body, "m-1"))
    async with broker.channel() as channel:
        queue = await channel.get_queue(f"{QUEUE}.dead", ensure=False)
        assert (await queue.get(no_ack=True)).body == body


async def test_many_messages_arrive_in_their_order(
    resources: Resources, broker: AbstractConnection
) -> None:
    count = 3 * WINDOW + 1
    sent = [Message(topology.DEAD, QUEUE, b"", f"m-{number}") for number in range(count)]
    assert await resources.publisher.publish_all(sent) == [None] * count
    async with broker.channel() as channel:
        queue = await channel.get_queue(f"{QUEUE}.dead", ensure=False)
        found = [(await queue.get(no_ack=True)).message_id for _ in range(count)]
    assert found == [message.message_id for message in sent]


async def test_messages_of_one_id_do_not_wait_for_each_other(
    resources: Resources, broker: AbstractConnection
) -> None:
    same = [message_of(report(1)) for _ in range(50)]
    await asyncio.gather(*(resources.publisher.publish(message) for message in same))
    assert await depth(broker, QUEUE) == 50


async def test_an_event_whose_id_is_too_long_for_amqp_travels_all_the_same(
    resources: Resources, broker: AbstractConnection
) -> None:
    event = report(1).model_copy(update={"id": "é" * 200})
    await resources.publisher.publish(message_of(event))
    async with broker.channel() as channel:
        queue = await channel.get_queue(QUEUE, ensure=False)
        found = await queue.get(no_ack=True)
    assert decode(CampaignMetricsReported, found.body) == event
    assert len(found.message_id or "") == 32


async def test_a_writer_that_is_behind_is_given_everything_in_the_end(
    resources: Resources, broker: AbstractConnection
) -> None:
    link = Link(resources.settings, "test:outgoing")
    channel = await link.channel(confirms=True)
    outgoing = Outgoing(channel)
    queue = channel.write_queue
    writing, queue._maxsize = queue._maxsize, 0  # type: ignore[attr-defined]
    full = asyncio.Queue[Any](1)
    full.put_nowait(None)
    channel.write_queue = full
    answers = [outgoing.send(message_of(report(number))) for number in range(10)]
    await asyncio.sleep(0)
    assert not any(answer.done() for answer in answers)
    queue._maxsize = writing  # type: ignore[attr-defined]
    channel.write_queue = queue
    await asyncio.wait_for(asyncio.gather(*answers), 10)
    assert await depth(broker, QUEUE) == 10
    await link.close()


async def test_a_lost_connection_answers_all_who_wait(resources: Resources) -> None:
    link = Link(resources.settings, "test:outgoing")
    channel = await link.channel(confirms=True)
    outgoing = Outgoing(channel)
    answers = [outgoing.send(message_of(report(number))) for number in range(10)]
    await link.close()
    done, _ = await asyncio.wait(answers, timeout=10)
    assert len(done) == 10
    assert outgoing.is_closed
    for answer in done:
        assert answer.exception() is None or isinstance(answer.exception(), Exception)


async def test_what_was_not_tried_is_not_known(resources: Resources) -> None:
    async with Publisher(resources.settings, "test") as publisher:
        await publisher._link.close()
        await until(lambda: _is(not publisher.connected))
        verdicts = await publisher.publish_all([message_of(report(n)) for n in range(600)])
    assert len(verdicts) == 600
    assert all(isinstance(verdict, PublishUnknown) for verdict in verdicts)


async def _is(found: bool) -> bool:  # noqa: FBT001 - what is asked
    return found


async def test_a_message_that_cannot_be_written_fails_alone(
    resources: Resources, broker: AbstractConnection
) -> None:
    bad = Message(topology.DEAD, "x" * 300, b"", "m-1")
    good = [Message(topology.DEAD, QUEUE, b"", f"g-{number}") for number in range(3)]
    verdicts = await resources.publisher.publish_all([good[0], bad, good[1]])
    assert [type(verdict) for verdict in verdicts] == [type(None), Unroutable, type(None)]
    with pytest.raises(Unroutable, match="255 bytes"):
        await resources.publisher.publish(bad)
    await resources.publisher.publish(good[2])
    assert await depth(broker, f"{QUEUE}.dead") == 3


async def test_while_the_broker_reads_nothing_what_waits_to_be_written_is_bounded(
    resources: Resources,
) -> None:
    publisher = resources.publisher
    assert publisher._outgoing is not None
    full: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
    full.put_nowait(None)
    publisher._outgoing._channel.write_queue = full
    body = bytes(1000)
    for number in range(2 * BEHIND // WINDOW + 1):
        messages = [Message(topology.DEAD, QUEUE, body, f"{number}-{n}") for n in range(WINDOW)]
        verdicts = await publisher.publish_all(messages, timeout=0.01)
        assert all(isinstance(verdict, PublishUnknown) for verdict in verdicts)
    assert BEHIND <= publisher._outgoing.behind <= BEHIND + WINDOW
