"""Which messages kill their processes: only deaths count, whatever else sends them back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest
from aio_pika import Message
from aio_pika.abc import AbstractConnection
from pamqp.commands import Basic
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from events import CampaignMetricsReported
from events.envelope import Event, encode
from infra.amqp import topology
from infra.amqp.connection import BrokerConnection
from infra.amqp.permissions import WORKERS_USER
from infra.errors import Outage
from infra.messaging.consumer import Consumer
from infra.messaging.context import Context
from infra.messaging.delivery import Delivery
from infra.messaging.isolation import MAX_DEATHS, REQUEUE_AFTER, Isolation, message_key
from infra.messaging.outage_wait import WaitLimits
from infra.messaging.subscription import Subscription
from infra.resources import Resources
from tests.infra.ledger import (
    EVENTS,
    QUEUE,
    consuming,
    count,
    create,
    depth,
    publish,
    report,
    until,
    write,
    written,
)

DEAD = f"{QUEUE}.dead"
FULL = "do $$ begin raise exception 'no space' using errcode = '53100'; end $$"
SUSPECTS = "select count(*) from suspects"
Reports = list[CampaignMetricsReported]


@pytest.fixture(autouse=True)
async def _ledger(engine: AsyncEngine) -> None:
    await create(engine)


async def note(events: Reports, ctx: Context) -> Sequence[Event]:
    await write(ctx.tx, events)
    return ()


async def returned(broker: AbstractConnection, times: int) -> None:
    """Take the first message and give it back, so often."""
    for _ in range(times):
        channel = await broker.channel()
        queue = await channel.get_queue(QUEUE)
        await queue.get(timeout=10)
        await channel.close()


def delivery(body: bytes = b"{}", **properties: str) -> Delivery:
    header = Basic.Properties(**properties)  # type: ignore[arg-type]
    return Delivery(1, QUEUE, topology.WORK_EXCHANGE, "key", body, header, redelivered=True)


@contextlib.asynccontextmanager
async def in_hand(resources: Resources, engine: AsyncEngine) -> AsyncIterator[None]:
    """Run a consumer that never comes to the end of a message, until it has one in hand."""

    async def wait(_: Reports, __: Context) -> Sequence[Event]:
        await asyncio.sleep(600)
        return ()

    subscription = Subscription(QUEUE, EVENTS, wait)
    link = BrokerConnection(resources.settings, "test:consume")
    consumer = Consumer(subscription, resources, link, asyncio.Lock())
    task = asyncio.create_task(consumer.run(asyncio.Event()))
    await until(lambda: _count_is(engine, f"{SUSPECTS} where holder is not null", 1))
    yield
    task.cancel()
    await asyncio.wait({task})
    await link.close()


@pytest.mark.parametrize("identified", [True, False])
async def test_a_healthy_message_that_is_given_back_again_and_again_is_no_killer(
    resources: Resources,
    broker: AbstractConnection,
    engine: AsyncEngine,
    identified: bool,  # noqa: FBT001 - a column of the table
) -> None:
    event = report(1)
    if identified:
        await _publish_with_id(broker, event)
    else:
        await publish(broker, event)
    await returned(broker, 2)
    for _ in range(MAX_DEATHS + 2):
        async with in_hand(resources, engine):
            pass
        await until(lambda: _depth_is(broker, QUEUE, 1))
        assert await count(engine, f"{SUSPECTS} where holder is not null") == 0
    async with consuming(resources, note):
        await until(lambda: _has(engine, 1))
        await until(lambda: _count_is(engine, SUSPECTS, 0))
    assert await depth(broker, DEAD) == 0


async def test_more_pauses_than_deaths_are_allowed_kill_no_message(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    """A full disk, say: the probe writes, but the batch does not."""
    pauses = 0

    async def fill(events: Reports, ctx: Context) -> Sequence[Event]:
        nonlocal pauses
        if pauses < MAX_DEATHS + 4:
            pauses += 1
            await ctx.tx.execute(text(FULL))
        return await note(events, ctx)

    await publish(broker, report(1), report(2))
    async with consuming(resources, fill, limits=WaitLimits(0.05, 0.2)) as consumer:
        await until(lambda: _is_paused(consumer))
        await until(lambda: _has(engine, 2))
        await until(lambda: _count_is(engine, SUSPECTS, 0))
    assert pauses == MAX_DEATHS + 4
    spent = (DEAD, "adrelay.retry.1s", "adrelay.retry.5s")
    assert [await depth(broker, queue) for queue in spent] == [0, 0, 0]


async def test_a_message_that_comes_back_often_is_published_again_before_the_broker_drops_it(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    deliveries: list[int] = []

    async def handle(events: Reports, ctx: Context) -> Sequence[Event]:
        deliveries.append(len(events))
        return await note(events, ctx)

    await publish(broker, report(1))
    await returned(broker, REQUEUE_AFTER)
    async with consuming(resources, handle):
        await until(lambda: _has(engine, 1))
        await until(lambda: _depth_is(broker, QUEUE, 0))
    assert deliveries == [1]
    assert await depth(broker, DEAD) == 0


async def test_deaths_are_counted_by_their_processes(engine: AsyncEngine) -> None:
    message = delivery()
    holders = [Isolation(QUEUE, engine) for _ in range(4)]
    # Each finds the marker of the one before it, which has ended.
    assert [await holder.enter(message) for holder in holders] == [0, 1, 2, 3]
    # Who finds its own marker has not died, and what is given back is no death.
    assert await holders[3].enter(message) == 3
    await holders[3].leave(message)
    assert await Isolation(QUEUE, engine).enter(message) == 3
    await holders[3].settle(message)
    assert await count(engine, SUSPECTS) == 0


async def test_a_process_that_could_not_say_so_in_time_takes_its_death_back(
    engine: AsyncEngine,
) -> None:
    message = delivery()
    gone = Isolation(QUEUE, engine)
    await gone.enter(message)
    working, gone._engine = gone._engine, _unreachable()
    await gone.leave(message)
    assert await Isolation(QUEUE, working).enter(message) == 1
    gone._engine = working
    await gone.leave_all()
    assert await Isolation(QUEUE, working).enter(message) == 1  # the second one alone


async def test_a_message_is_not_handled_alone_without_a_marker() -> None:
    with pytest.raises(Outage):
        await Isolation(QUEUE, _unreachable()).enter(delivery())


def test_messages_are_told_apart_with_and_without_an_id() -> None:
    one, two = delivery(b"1"), delivery(b"2")
    assert message_key(one) == message_key(delivery(b"1")) != message_key(two)
    assert message_key(delivery(message_id="1")) != message_key(delivery(message_id="2"))


async def _publish_with_id(broker: AbstractConnection, event: CampaignMetricsReported) -> None:
    async with broker.channel() as channel:
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE)
        body = encode(event)
        message = Message(body, message_id=event.id, delivery_mode=2, user_id=WORKERS_USER)
        message.content_type = "application/cloudevents+json"
        await exchange.publish(message, event.routing_key, timeout=10)


async def _is_paused(consumer: Consumer) -> bool:
    return "SQLSTATE 53100" in str(consumer.trouble)


async def _has(engine: AsyncEngine, lines: int) -> bool:
    return len(await written(engine)) >= lines


async def _count_is(engine: AsyncEngine, sql: str, wanted: int) -> bool:
    return await count(engine, sql) == wanted


async def _depth_is(broker: AbstractConnection, queue: str, wanted: int) -> bool:
    return await depth(broker, queue) == wanted


def _unreachable() -> AsyncEngine:
    return create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/none")
