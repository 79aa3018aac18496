"""A queue that is deleted under its reader, and a connection that breaks again and again."""

import asyncio
from collections.abc import Sequence
from functools import partial

from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsReported
from events.envelope import Event
from infra.amqp.topology_declaration import declare
from infra.messaging.consumer import Consumer
from infra.messaging.context import Context
from infra.resources import Resources
from tests.infra.ledger import QUEUE, consuming, create, publish, report, until, write, written

Reports = list[CampaignMetricsReported]


async def note(events: Reports, ctx: Context) -> Sequence[Event]:
    await write(ctx.tx, events)
    return ()


async def test_a_deleted_queue_is_noticed_and_read_again_once_it_is_declared(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await create(engine)
    async with consuming(resources, note) as consumer:
        await publish(broker, report(1))
        await until(lambda: _has(engine, 1))
        async with broker.channel() as channel:
            await channel.queue_delete(QUEUE)
        looks = [await _look(consumer) for _ in range(40)]
        assert looks.count(False) > looks.count(True), "it says that it reads what is not there"
        await declare(broker)
        await publish(broker, report(2))
        await until(lambda: _has(engine, 2))


async def test_a_reader_is_back_at_once_however_often_its_connection_broke_before(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await create(engine)
    async with consuming(resources, note) as consumer, asyncio.timeout(10):
        for number in range(1, 10):
            await publish(broker, report(number))
            await until(partial(_has, engine, number))
            await consumer._connection.close()


async def _look(consumer: Consumer) -> bool:
    await asyncio.sleep(0.05)
    return consumer.alive


async def _has(engine: AsyncEngine, count: int) -> bool:
    return len(await written(engine)) >= count
