"""Marks of the event log: nothing that is not settled is ever before one."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsReported
from events.envelope import Event, now
from handlers.dead_letters import file_dead_letters
from infra.amqp.connection import BrokerConnection
from infra.amqp.topology import dead_queue
from infra.errors import Permanent, Snooze
from infra.messaging.context import Context
from infra.messaging.dead_letter import make_dead_letter_decoder, reduce_dead_letter
from infra.messaging.log_marker import mark_once
from infra.resources import Resources
from infra.storage.expired_rows import LOG_MARKS, delete_expired_rows
from infra.storage.log_marks import LogMark, read_latest_mark
from tests.infra.ledger import QUEUE, consuming, count, depth, publish, report, until

RECEIVED: list[str] = []


@pytest.fixture
async def link(resources: Resources) -> AsyncIterator[BrokerConnection]:
    link = BrokerConnection(resources.settings, "test:marks")
    yield link
    await link.close()


async def marked(resources: Resources, link: BrokerConnection) -> LogMark:
    mark = await mark_once(resources, link)
    assert mark is not None
    return mark


async def take(events: list[CampaignMetricsReported], _: Context) -> Sequence[Event]:
    """Handle even numbers, snooze the odd ones, and reject 9."""
    wrong = [event for event in events if event.data.impressions == 9]
    if wrong:
        raise Permanent("nine", events=wrong)
    odd = [event for event in events if event.data.impressions % 2]
    if odd:
        raise Snooze("odd", 300, events=odd)
    RECEIVED.extend(event.id for event in events)
    return ()


async def test_an_event_that_waits_in_its_queue_is_not_before_the_mark(
    resources: Resources, link: BrokerConnection, broker: AbstractConnection
) -> None:
    before = await marked_after(resources, link, broker, report(0))
    mark = await marked(resources, link)
    assert mark.settled_offset == before.end_offset - 1
    assert mark.oldest_unsettled_seconds >= 0


async def test_what_was_handled_is_before_the_mark_and_what_was_snoozed_is_not(
    resources: Resources, link: BrokerConnection, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    first = (await marked_after(resources, link, broker, report(2))).end_offset - 1
    await publish(broker, report(4))
    await publish(broker, report(5))
    await publish(broker, report(6))
    async with consuming(resources, take):
        await until(lambda: _has(engine, "select count(*) from inbox", 3))
        await until(lambda: _lies(broker, "adrelay.retry.5m", 1))
    mark = await marked(resources, link)
    assert (mark.settled_offset, mark.end_offset) == (first + 2, first + 4)


async def test_a_dead_letter_is_settled_once_it_is_filed(
    resources: Resources, link: BrokerConnection, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    first = (await marked_after(resources, link, broker, report(9))).end_offset - 1
    await publish(broker, b"no event at all")
    async with consuming(resources, take):
        await until(lambda: _lies(broker, dead_queue(QUEUE), 2))
    assert (await marked(resources, link)).settled_offset == first
    async with consuming(
        resources,
        file_dead_letters,
        queue=dead_queue(QUEUE),
        events=(),
        decoder=make_dead_letter_decoder(QUEUE),
        reducer=reduce_dead_letter,
    ):
        await until(lambda: _has(engine, "select count(*) from dead_letters", 2))
    mark = await marked(resources, link)
    assert mark.settled_offset == mark.end_offset == first + 2
    assert mark.oldest_unsettled_seconds == 0


async def test_the_mark_goes_back_for_nothing_and_stays_behind_what_the_database_has_lost(
    resources: Resources, link: BrokerConnection, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    first = (await marked_after(resources, link, broker, report(2))).end_offset - 1
    async with consuming(resources, take):
        await until(lambda: _has(engine, "select count(*) from inbox", 1))
    assert (await marked(resources, link)).settled_offset == first + 1
    await publish(broker, report(4))
    async with consuming(resources, take):
        await until(lambda: _has(engine, "select count(*) from inbox", 2))
    async with engine.begin() as tx:  # a database that was put back, with its last mark
        await tx.execute(
            text(
                "delete from inbox where key in (select key from inbox"
                " order by handled_at desc limit 1)"
            )
        )
    assert (await marked(resources, link)).settled_offset == first + 1


async def test_the_latest_mark_is_kept_however_old_it_is(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        await tx.execute(
            text(
                "insert into log_marks select now() - make_interval(days => n), 10 - n, 0, 0"
                " from generate_series(3, 5) as n"
            )
        )
        assert await delete_expired_rows(tx, LOG_MARKS, now() - timedelta(days=2), 10) == 2
        latest = await read_latest_mark(tx)
    assert latest is not None
    assert latest.end_offset == 7


async def marked_after(
    resources: Resources, link: BrokerConnection, broker: AbstractConnection, event: Event
) -> LogMark:
    """Publish an event, and mark the log: what earlier tests have left there is forgotten."""
    await publish(broker, event)  # type: ignore[arg-type]
    mark = await marked(resources, link)
    async with resources.engine.begin() as tx:
        await tx.execute(text("update log_marks set settled_offset = end_offset - 1"))
    return mark


async def _has(engine: AsyncEngine, query: str, rows: int) -> bool:
    return await count(engine, query) == rows


async def _lies(broker: AbstractConnection, queue: str, messages: int) -> bool:
    return await depth(broker, queue) == messages
