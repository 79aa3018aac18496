"""The publishing end of a channel: order, ids, and everybody gets an answer."""

import asyncio

import pytest
from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel

from events import CampaignMetricsReported
from events.envelope import decode
from infra.amqp import client_library, topology
from infra.amqp.connection import BrokerConnection
from infra.amqp.delivery_parser import DeliveryParser
from infra.amqp.frame_encoder import MAX_BODY_BYTES
from infra.amqp.message import Message, build_message
from infra.amqp.publish_channel import MAX_UNSENT_BYTES, PublishChannel
from infra.amqp.publisher import WINDOW_MESSAGES, Publisher
from infra.background import BackgroundTasks
from infra.errors import PublishUnknown, Unwritable
from infra.process import run_until
from infra.resources import Resources
from infra.settings import Settings
from tests.infra.ledger import QUEUE, depth, report, until
from tests.proxy import open_proxy


async def test_a_large_body_arrives_whole(resources: Resources, broker: AbstractConnection) -> None:
    body = bytes(range(256)) * 4096
    await resources.publisher.publish(Message(topology.DEAD_LETTER_EXCHANGE, QUEUE, body, "m-1"))
    async with broker.channel() as channel:
        queue = await channel.get_queue(f"{QUEUE}.dead", ensure=False)
        assert (await queue.get(no_ack=True)).body == body


async def test_many_messages_arrive_in_their_order(
    resources: Resources, broker: AbstractConnection
) -> None:
    count = 3 * WINDOW_MESSAGES + 1
    sent = [
        Message(topology.DEAD_LETTER_EXCHANGE, QUEUE, b"", f"m-{number}") for number in range(count)
    ]
    assert await resources.publisher.publish_all(sent) == [None] * count
    async with broker.channel() as channel:
        queue = await channel.get_queue(f"{QUEUE}.dead", ensure=False)
        found = [(await queue.get(no_ack=True)).message_id for _ in range(count)]
    assert found == [message.message_id for message in sent]


async def test_messages_of_one_id_do_not_wait_for_each_other(
    resources: Resources, broker: AbstractConnection
) -> None:
    same = [build_message(report(1)) for _ in range(50)]
    await asyncio.gather(*(resources.publisher.publish(message) for message in same))
    assert await depth(broker, QUEUE) == 50


async def test_an_event_whose_id_is_too_long_for_amqp_travels_all_the_same(
    resources: Resources, broker: AbstractConnection
) -> None:
    event = report(1).model_copy(update={"id": "é" * 200})
    await resources.publisher.publish(build_message(event))
    async with broker.channel() as channel:
        queue = await channel.get_queue(QUEUE, ensure=False)
        found = await queue.get(no_ack=True)
    assert decode(CampaignMetricsReported, found.body) == event
    assert len(found.message_id or "") == 32


async def test_a_lost_connection_answers_all_who_wait(resources: Resources) -> None:
    link = BrokerConnection(resources.settings, "test:outgoing")
    channel, tap = await link.open_consumer_channel(confirms=True)
    outgoing = PublishChannel(channel, tap.held)
    answers = [outgoing.send(build_message(report(number))) for number in range(10)]
    await link.close()
    done, _ = await asyncio.wait(answers, timeout=10)
    assert len(done) == 10
    assert outgoing.is_closed
    for answer in done:
        assert answer.exception() is None or isinstance(answer.exception(), Exception)


async def test_what_was_not_tried_is_not_known(resources: Resources) -> None:
    async with Publisher(resources.settings, "test", resources.background) as publisher:
        await publisher._link.close()
        await until(lambda: _is(not publisher.connected))
        verdicts = await publisher.publish_all([build_message(report(n)) for n in range(600)])
    assert len(verdicts) == 600
    assert all(isinstance(verdict, PublishUnknown) for verdict in verdicts)


async def _is(found: bool) -> bool:  # noqa: FBT001 - what is asked
    return found


async def test_a_message_that_cannot_be_written_fails_alone(
    resources: Resources, broker: AbstractConnection
) -> None:
    bad = Message(topology.DEAD_LETTER_EXCHANGE, "x" * 300, b"", "m-1")
    good = [
        Message(topology.DEAD_LETTER_EXCHANGE, QUEUE, b"", f"g-{number}") for number in range(3)
    ]
    verdicts = await resources.publisher.publish_all([good[0], bad, good[1]])
    assert [type(verdict) for verdict in verdicts] == [type(None), Unwritable, type(None)]
    with pytest.raises(Unwritable, match="255 bytes"):
        await resources.publisher.publish(bad)
    await resources.publisher.publish(good[2])
    assert await depth(broker, f"{QUEUE}.dead") == 3


async def test_what_is_too_large_for_the_broker_costs_no_neighbour_and_no_connection(
    resources: Resources,
) -> None:
    many = {f"h{number:03}": "x" * 1000 for number in range(140)}
    bad = [
        Message(topology.DEAD_LETTER_EXCHANGE, QUEUE, b"", "headers", headers=many),
        Message(topology.DEAD_LETTER_EXCHANGE, QUEUE, bytes(MAX_BODY_BYTES + 1), "body"),
        Message(topology.DEAD_LETTER_EXCHANGE, QUEUE, b"", "value", headers={"n": 2**70}),
    ]
    good = [
        Message(topology.DEAD_LETTER_EXCHANGE, QUEUE, b"", f"g-{number}") for number in range(4)
    ]
    mixed = [message for pair in zip(good, [*bad, good[3]], strict=True) for message in pair]
    outgoing = resources.publisher._publish_channel
    verdicts = await resources.publisher.publish_all(mixed)
    assert [isinstance(v, Unwritable) for v in verdicts] == [False, True] * 3 + [False, False]
    assert [v for v in verdicts if not isinstance(v, Unwritable)] == [None] * 5
    assert resources.publisher._publish_channel is outgoing


async def test_a_stalled_socket_bounds_what_waits_to_be_sent(settings: Settings) -> None:
    async with open_proxy(settings.rabbitmq_url) as proxy:
        stalled = settings.model_copy(update={"rabbitmq_url": proxy.url()})
        async with Publisher(stalled, "test", BackgroundTasks()) as publisher:
            proxy.freeze()
            assert publisher._publish_channel is not None
            body = bytes(250_000)
            for number in range(5):
                messages = [
                    Message(topology.DEAD_LETTER_EXCHANGE, QUEUE, body, f"{number}-{n}")
                    for n in range(64)
                ]
                verdicts = await publisher.publish_all(messages, timeout=0.05)
                assert all(isinstance(verdict, PublishUnknown) for verdict in verdicts)
            unsent = publisher._publish_channel.unsent
            assert MAX_UNSENT_BYTES // 2 < unsent < MAX_UNSENT_BYTES + 1_000_000
            proxy.heal()
            await until(
                lambda: _is(
                    publisher._publish_channel is None or not publisher._publish_channel.unsent
                )
            )


async def test_a_background_task_that_dies_ends_the_process_with_its_reason(
    settings: Settings,
) -> None:
    class Broken(BrokerConnection):
        async def open_consumer_channel(
            self, *, confirms: bool = False
        ) -> tuple[Channel, DeliveryParser]:
            raise LookupError(f"nobody expects this with {confirms=}")

    background = BackgroundTasks()
    publisher = Publisher(settings, "test", background)
    publisher._link = Broken(settings, "test")
    publisher._timeout = 0.1
    async with publisher, asyncio.timeout(10):
        assert await run_until(asyncio.Event(), [], 1, background) == 1
    assert background.failed_task == "publisher"


def test_another_client_library_than_the_tested_one_is_refused() -> None:
    client_library.check_version("7.2.9")
    with pytest.raises(client_library.UntestedClientLibrary, match=r"aiormq 7\.3\.0 is installed"):
        client_library.check_version("7.3.0")


async def test_a_client_library_without_what_we_use_is_refused(resources: Resources) -> None:
    link = BrokerConnection(resources.settings, "test")
    channel = await link.open_channel(confirms=True)
    client_library.check_channel(channel)
    del channel.message_id_delivery_tag
    with pytest.raises(client_library.UntestedClientLibrary, match="message_id_delivery_tag"):
        client_library.check_channel(channel)
    await link.close()
