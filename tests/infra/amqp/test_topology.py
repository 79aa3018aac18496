"""Where messages go on the declared topology."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from aio_pika.abc import AbstractConnection
from prometheus_client import REGISTRY

from events import EVENTS
from events.envelope import Event
from infra.amqp import topology, topology_declaration
from infra.amqp.connection import BrokerConnection
from infra.amqp.message import Message
from infra.amqp.publisher import Publisher
from infra.amqp.topology import REQUEST_QUEUES, WORK_QUEUES
from infra.background import BackgroundTasks
from infra.messaging.gauges import export_queue_gauges
from infra.resources import Resources
from infra.settings import Settings
from schemas.types import PLATFORMS
from tests.infra.ledger import depth, take, until
from tests.services import TESTER, as_user

QUEUES = [*topology.WORK_QUEUE_NAMES, *(queue.name for queue in REQUEST_QUEUES)]
REQUESTED = {event for queue in REQUEST_QUEUES for event in queue.events}


@pytest.fixture
async def link(resources: Resources) -> AsyncIterator[BrokerConnection]:
    link = BrokerConnection(resources.settings, "test:look")
    yield link
    await link.close()


@pytest.fixture
async def publisher(settings: Settings) -> AsyncIterator[Publisher]:
    async with Publisher(as_user(TESTER, settings), "test", BackgroundTasks()) as publisher:
        yield publisher


def keys(event: type[Event]) -> list[tuple[str, str | None]]:
    """List the routing keys of an event type, each with its platform."""
    kind = event.event_type()
    if event.routed_by_platform:
        return [(f"{kind}.{platform}", platform) for platform in PLATFORMS]
    return [(kind, None)]


def wanted(event: type[Event], platform: str | None) -> set[str]:
    """Say which queues are to receive an event."""
    if event in REQUESTED:
        return {queue.name for queue in REQUEST_QUEUES if event in queue.events}
    return {
        queue.name
        for queue in WORK_QUEUES
        if event in queue.events and queue.platform in (None, platform)
    }


@pytest.mark.parametrize("event", EVENTS)
async def test_every_event_reaches_the_queues_of_its_handlers_and_no_other(
    publisher: Publisher, broker: AbstractConnection, event: type[Event]
) -> None:
    exchange = topology.REQUEST_EXCHANGE if event in REQUESTED else topology.EVENTS_EXCHANGE
    for key, platform in keys(event):
        await publisher.publish(Message(exchange, key, b"{}", f"m-{key}"))
        reached = {queue for queue in QUEUES if await depth(broker, queue)}
        assert reached == wanted(event, platform)
        for queue in reached:
            await take(broker, queue)
    assert await depth(broker, topology.UNROUTED) == 0


async def test_an_event_that_nobody_handles_stays_to_be_seen_and_raises_a_metric(
    publisher: Publisher, broker: AbstractConnection, link: BrokerConnection
) -> None:
    message = Message(topology.EVENTS_EXCHANGE, "campaign.invented.v9", b"{}", "m-1")
    await publisher.publish(message)
    await until(lambda: _depth_is(broker, topology.UNROUTED, 1))
    await export_queue_gauges(link, 10)
    assert REGISTRY.get_sample_value("adrelay_unrouted_messages") == 1
    assert (await take(broker, topology.UNROUTED)).message_id == "m-1"


async def test_a_wait_in_the_ladder_ends_in_the_queue_that_it_began_in_and_no_other(
    resources: Resources, broker: AbstractConnection
) -> None:
    waiting = Message(topology.retry_exchange("1s"), "sync.claude", b"{}", "m-1", headers={"x": 1})
    await resources.publisher.publish(waiting)
    assert await depth(broker, "sync.claude") == 0
    message = await take(broker, "sync.claude")
    assert message.exchange == topology.RETURN_EXCHANGE
    assert message.headers["x"] == 1
    assert {queue for queue in QUEUES if await depth(broker, queue)} == set()


async def test_what_comes_back_to_a_queue_that_is_gone_is_seen(
    resources: Resources, broker: AbstractConnection
) -> None:
    lost = Message(topology.retry_exchange("1s"), "no.such.queue", b"{}", "m-1")
    await resources.publisher.publish(lost)
    assert (await take(broker, topology.UNROUTED)).message_id == "m-1"


@pytest.mark.parametrize("queue", topology_declaration.queues(), ids=lambda queue: queue.name)
def test_every_queue_is_of_a_kind_that_has_copies_on_other_brokers(
    queue: topology_declaration.QueueDeclaration,
) -> None:
    assert queue.arguments.get("x-queue-type") in {"quorum", "stream"}


async def test_the_history_keeps_every_event(
    resources: Resources, broker: AbstractConnection
) -> None:
    found: list[Any] = []
    async with broker.channel() as channel:
        await channel.set_qos(10)
        history = await channel.get_queue(topology.EVENT_LOG, ensure=False)
        await history.consume(partial(_note, found), arguments={"x-stream-offset": "next"})
        await resources.publisher.publish(
            Message(topology.EVENTS_EXCHANGE, "campaign.status_changed.v1", b"{}", "m-1")
        )
        await until(lambda: _seen(found))
    assert found == ["m-1"]


async def _note(found: list[Any], message: Any) -> None:
    found.append(message.message_id)
    await message.ack()


async def _seen(found: list[Any]) -> bool:
    return bool(found)


async def _depth_is(broker: AbstractConnection, queue: str, messages: int) -> bool:
    return await depth(broker, queue) == messages
