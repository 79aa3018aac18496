"""Locks and timeouts: the same batch again, for a bounded time, and nothing spent in vain."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsReported
from events.envelope import Event
from infra.errors import Outage, Snooze, Transient
from infra.messaging.batch_result import Work
from infra.messaging.context import Context
from infra.messaging.processor import BatchProcessor
from infra.messaging.subscription import Subscription
from infra.resources import Resources, open_resources
from infra.settings import Settings
from tests.handlers.processing import received
from tests.infra.ledger import (
    EVENTS,
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

SPENT = ("adrelay.retry.1s", "adrelay.retry.5s", f"{QUEUE}.dead")
SLOW = "e-13"
Reports = list[CampaignMetricsReported]


@pytest.fixture(autouse=True)
async def _ledger(engine: AsyncEngine) -> None:
    await create(engine)


@pytest.fixture
async def hasty(settings: Settings) -> AsyncIterator[Resources]:
    """What a worker holds open whose statements may take a quarter of a second."""
    own = settings.model_copy(update={"statement_timeout": 0.25})
    async with open_resources(own, "test") as resources:
        yield resources


async def note(events: Reports, ctx: Context) -> Sequence[Event]:
    await write(ctx.tx, events)
    return ()


async def dawdle(events: Reports, ctx: Context) -> Sequence[Event]:
    """Write the events, but of one for longer than a statement may take."""
    if any(event.id == SLOW for event in events):
        await ctx.tx.execute(text("select pg_sleep(5)"))
    return await note(events, ctx)


def work(*events: CampaignMetricsReported) -> Work:
    return Work([[received(QUEUE, event) for event in events]])


async def test_a_lock_on_the_table_is_waited_for_and_costs_nothing(
    hasty: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await publish(broker, *(report(n) for n in range(10, 50)))
    async with engine.begin() as holder:
        await holder.execute(text("lock table ledger"))
        async with consuming(hasty, note):
            await until(lambda: _waited(engine))
            await asyncio.sleep(1)  # some timeouts more
            await holder.rollback()
            await until(lambda: _has(engine, 40))
    assert len(set(await written(engine))) == 40
    assert [await depth(broker, queue) for queue in SPENT] == [0, 0, 0]


async def test_an_event_that_is_too_slow_each_time_spends_an_attempt_and_hinders_nobody(
    hasty: Resources, engine: AsyncEngine
) -> None:
    subscription = Subscription(QUEUE, EVENTS, dawdle)
    outcome = await BatchProcessor(subscription, hasty).run(
        work(*(report(n) for n in range(12, 15)))
    )
    failed = {f.decoded.event.id: f.error for f in outcome.failed if f.decoded}
    assert [*failed] == [SLOW]
    assert isinstance(error := failed[SLOW], Transient)
    assert error.code == "CONFLICT"
    assert await written(engine) == ["e-12", "e-14"]


async def test_an_event_that_meets_a_conflict_with_nobody_to_compare_waits_for_free(
    hasty: Resources,
) -> None:
    subscription = Subscription(QUEUE, EVENTS, dawdle)
    outcome = await BatchProcessor(subscription, hasty).run(work(report(13)))
    [failure] = outcome.failed
    assert isinstance(failure.error, Snooze)


async def test_a_batch_has_a_bound_in_time_and_goes_on_where_it_was(
    hasty: Resources, engine: AsyncEngine
) -> None:
    bounded = BatchProcessor(Subscription(QUEUE, EVENTS, note), hasty, seconds=1.0)
    running = work(*(report(n) for n in range(10, 50)))
    async with engine.begin() as holder:
        await holder.execute(text("lock table ledger"))
        with pytest.raises(Outage, match="not through after"):
            await bounded.run(running)
        left = len(running.parts)
    outcome = await bounded.run(running)
    assert left > 1
    assert len(outcome.handled) == 40
    assert not outcome.failed
    assert len(await written(engine)) == 40


async def _waited(engine: AsyncEngine) -> bool:
    query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
    async with engine.connect() as connection:
        return int((await connection.execute(text(query))).scalar_one()) > 0


async def _has(engine: AsyncEngine, lines: int) -> bool:
    return len(await written(engine)) >= lines
