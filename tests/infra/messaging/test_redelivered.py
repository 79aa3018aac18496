"""What came back often though nobody died of it: to meet it must not make a killer of it."""

from collections.abc import Sequence

from aio_pika.abc import AbstractChannel, AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsReported
from events.envelope import Event
from infra.messaging.context import Context
from infra.resources import Resources
from tests.infra.ledger import (
    QUEUE,
    consuming,
    create,
    depth,
    publish,
    report,
    until,
    write,
    written,
)

Reports = list[CampaignMetricsReported]


async def take(broker: AbstractConnection, count: int) -> AbstractChannel:
    """Take messages on a channel and give it: its close sends them back."""
    channel = await broker.channel()
    queue = await channel.get_queue(QUEUE)
    for _ in range(count):
        await queue.get(timeout=10)
    return channel


async def test_suspects_met_among_fresh_events_are_handled_and_not_given_back(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    sizes: list[int] = []

    async def note(events: Reports, ctx: Context) -> Sequence[Event]:
        sizes.append(len(events))
        await write(ctx.tx, events)
        return ()

    await create(engine)
    suspects = [report(n) for n in range(100, 105)]
    await publish(broker, *suspects)
    for _ in range(12):
        await (await take(broker, len(suspects))).close()
    holding = await take(broker, len(suspects))
    async with consuming(resources, note) as consumer:
        await until(lambda: _is_alive(consumer.alive))
        await publish(broker, report(99))  # It reads widely when this is there.
        await until(lambda: _has(engine, 1))
        await holding.close()
        await until(lambda: _has(engine, 6))
        await publish(broker, report(200))
        await until(lambda: _has(engine, 7))
    assert await written(engine) == sorted(f"e-{n}" for n in (99, *range(100, 105), 200))
    assert sizes == [1] * 7
    assert await depth(broker, f"{QUEUE}.dead") == 0


async def _is_alive(alive: bool) -> bool:  # noqa: FBT001 - what is asked for
    return alive


async def _has(engine: AsyncEngine, count: int) -> bool:
    return len(await written(engine)) >= count
