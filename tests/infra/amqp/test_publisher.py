"""Publishing that tells the truth."""

import asyncio
import gc

import pytest
from aio_pika.abc import AbstractConnection
from pamqp.common import FieldTable

from infra.amqp import publisher as publishing
from infra.amqp import topology, topology_declaration
from infra.amqp.message import Message, build_message
from infra.amqp.publisher import Publisher
from infra.background import BackgroundTasks
from infra.errors import PublishUnknown, Unroutable
from infra.resources import Resources
from tests.infra.ledger import QUEUE, depth, report, until


async def test_a_publish_is_confirmed_and_routed(
    resources: Resources, broker: AbstractConnection
) -> None:
    await resources.publisher.publish(build_message(report(1)))
    assert await depth(broker, QUEUE) == 1


async def test_a_message_that_no_queue_takes_is_not_published(resources: Resources) -> None:
    with pytest.raises(Unroutable, match=r"no queue takes 'nowhere' from 'adrelay.dead'"):
        await resources.publisher.publish(
            Message(topology.DEAD_LETTER_EXCHANGE, "nowhere", b"", "m-1")
        )


async def test_a_returned_message_is_never_credited_to_another_publish_of_its_id(
    resources: Resources,
) -> None:
    for _ in range(20):
        verdicts = await resources.publisher.publish_all(
            [
                Message(topology.DEAD_LETTER_EXCHANGE, "nowhere", b"", "same"),
                Message(topology.DEAD_LETTER_EXCHANGE, QUEUE, b"", "same"),
                Message(topology.DEAD_LETTER_EXCHANGE, "nowhere", b"", "same"),
            ]
        )
        kinds = [type(verdict) for verdict in verdicts]
        assert kinds == [Unroutable, type(None), Unroutable]


async def test_a_missing_exchange_is_named_and_the_publisher_recovers(
    resources: Resources, broker: AbstractConnection
) -> None:
    missing = topology.retry_exchange("30m")
    async with broker.channel() as channel:
        await channel.exchange_delete(missing)
    with pytest.raises(Unroutable, match=f"there is no exchange '{missing}'"):
        await resources.publisher.publish(Message(missing, "x", b"", "m-1"))
    await until(lambda: _connected(resources.publisher))
    await resources.publisher.publish(build_message(report(1)))
    assert await depth(broker, QUEUE) == 1
    await topology_declaration.declare(broker)


@pytest.mark.parametrize(
    ("exchange", "key"), [("amq.topic", "x"), (topology.EVENTS_EXCHANGE, "login.requested.v1")]
)
async def test_what_our_user_may_not_publish_is_unroutable_and_nothing_else_is(
    resources: Resources, broker: AbstractConnection, exchange: str, key: str
) -> None:
    good = [build_message(report(number)) for number in range(3)]
    verdicts = await resources.publisher.publish_all([Message(exchange, key, b"", "m-1"), *good])
    assert [type(verdict) for verdict in verdicts] == [Unroutable, *3 * [PublishUnknown]]
    assert "our user of the broker may not" in str(verdicts[0])
    await until(lambda: _connected(resources.publisher))
    assert await resources.publisher.publish_all(good) == [None, None, None]
    assert await depth(broker, QUEUE) == 3


async def test_without_a_broker_a_publish_fails_at_once_and_says_that_nothing_is_known(
    resources: Resources,
) -> None:
    publisher = resources.publisher
    publisher._keeper.cancel()  # type: ignore[union-attr]
    await publisher._link.close()
    with pytest.raises(PublishUnknown):
        await publisher.publish(build_message(report(1)))
    assert not publisher.connected


async def test_a_channel_that_refuses_all_is_given_up_for_another(
    resources: Resources, broker: AbstractConnection
) -> None:
    publisher = resources.publisher
    first = publisher._publish_channel
    message = Message(topology.DEAD_LETTER_EXCHANGE, "full", b"", "m-1")
    async with broker.channel() as channel:
        # A classic one, because the policy for foreign queues does not reach it.
        full: FieldTable = {"x-max-length": 1, "x-overflow": "reject-publish"}
        queue = await channel.declare_queue("full", durable=True, arguments=full)
        await queue.bind(topology.DEAD_LETTER_EXCHANGE, "full")

        async def refused() -> bool:
            await publisher.publish_all([message] * 5)
            return publisher._publish_channel not in (first, None)

        await until(refused, 15)
        await queue.purge()
        await channel.queue_delete("full")
    await publisher.publish(build_message(report(1)))


async def test_a_channel_that_is_never_answered_is_given_up_unless_an_alarm_silences_it(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "SILENCE_TIMEOUT", 0.3)
    publisher = resources.publisher
    first = publisher._publish_channel
    assert first is not None
    first._channel.write_queue = asyncio.Queue()  # What is written there reaches nobody.

    async def answered() -> bool:
        return await publisher.publish_all([build_message(report(1))], timeout=0.1) == [None]

    unblocked = first._channel.connection._Connection__connection_unblocked  # type: ignore[attr-defined]
    unblocked.clear()
    assert not any([await answered() for _ in range(6)])
    assert publisher._publish_channel is first
    unblocked.set()
    await until(answered, 20)
    assert publisher._publish_channel not in (first, None)


# aiormq leaves the socket of a connection attempt that timed out to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_broker_that_does_not_answer_costs_no_more_than_the_deadline(
    resources: Resources,
) -> None:
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    silent = resources.settings.model_copy(
        update={
            "rabbitmq_url": type(resources.settings.rabbitmq_url)(f"amqp://x:x@127.0.0.1:{port}/"),
            "broker_timeout": 0.3,
        }
    )
    async with asyncio.timeout(5), Publisher(silent, "test", BackgroundTasks()) as publisher:
        with pytest.raises(PublishUnknown):
            await publisher.publish(build_message(report(1)))
    listener.close()
    gc.collect()


async def _connected(publisher: Publisher) -> bool:
    return publisher.connected
