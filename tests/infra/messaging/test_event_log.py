"""The reader of the event log: order, offsets, where it begins and ends, memory, outages."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest
from aio_pika.abc import AbstractConnection

from events import UserRegistered
from infra.amqp import topology, topology_declaration
from infra.amqp.connection import BrokerConnection
from infra.amqp.flow_control import MAX_HELD_BYTES
from infra.amqp.message import build_message
from infra.errors import Outage
from infra.messaging import batcher
from infra.messaging.event_log import LONGEST_CHUNK, LogAbsent, find_end, read_log
from infra.resources import Resources
from infra.settings import Settings
from tests.infra.ledger import until
from tests.infra.messaging.log_reading import (
    EMPTY_AFTER,
    TIMEOUT,
    find_next_offset,
    ids_of,
    read_all,
    write_log,
)
from tests.proxy import open_proxy

REGISTERED = {"user_id": "5f0c9ad4-3a55-4c0e-8a3e-6a1f1a0c4711", "role": "manager"}


@pytest.fixture
async def link(settings: Settings) -> AsyncIterator[BrokerConnection]:
    """A connection as the workers' user."""
    link = BrokerConnection(settings, "test:log")
    yield link
    await link.close()


@pytest.fixture
async def start(broker: AbstractConnection, link: BrokerConnection) -> int:
    """The offset of the first event that the test writes."""
    return await find_next_offset(broker, link)


async def test_events_come_in_their_order_with_consecutive_offsets(
    broker: AbstractConnection, link: BrokerConnection, start: int
) -> None:
    ids = [f"e-{n}" for n in range(5000)]
    await write_log(broker, ids)
    entries = await read_all(link, start)
    assert ids_of(entries) == ids
    assert [entry.offset for entry in entries] == list(range(start, start + 5000))


async def test_it_begins_in_the_middle_of_a_chunk_and_ends_at_an_offset(
    broker: AbstractConnection, link: BrokerConnection, start: int
) -> None:
    ids = [f"e-{n}" for n in range(1000)]
    await write_log(broker, ids)
    entries = await read_all(link, start + 123, until=start + 321)
    assert ids_of(entries) == ids[123:322]


async def test_first_last_and_next(
    broker: AbstractConnection, link: BrokerConnection, start: int
) -> None:
    await write_log(broker, ["before"])
    assert (await read_all(link, "first"))[0].offset == 0
    last = await read_all(link, "last")
    assert last[0].offset >= start
    assert ids_of(last)[-1] == "before"
    batches = read_log(link, "next", timeout=TIMEOUT, empty_after=None)
    async with aclosing(batches):
        reading = asyncio.ensure_future(anext(batches))
        while not reading.done():  # the consumer begins at some moment
            await write_log(broker, ["after"])
            await asyncio.wait({reading}, timeout=0.1)
        assert set(ids_of(reading.result())) == {"after"}


async def test_it_begins_at_a_time(broker: AbstractConnection, link: BrokerConnection) -> None:
    await write_log(broker, ["old"])
    await asyncio.sleep(1.1)  # the log is asked for a whole second
    between = datetime.now(UTC)
    await write_log(broker, ["new"])
    assert ids_of(await read_all(link, between)) == ["new"]
    assert await read_all(link, datetime.now(UTC) + timedelta(hours=1)) == []
    early = await read_all(link, between - timedelta(days=400))
    assert early[0].offset == 0
    assert ids_of(early)[-2:] == ["old", "new"]


async def test_an_offset_that_is_not_there_yet_gives_nothing(
    link: BrokerConnection, start: int
) -> None:
    assert await read_all(link, start + 100_000) == []


async def test_under_traffic_the_end_is_beyond_what_was_there_and_reading_up_to_it_ends(
    broker: AbstractConnection, link: BrokerConnection, start: int
) -> None:
    await write_log(broker, [f"e-{n}" for n in range(3000)])
    going_on = True

    async def write_on() -> None:
        while going_on:
            await write_log(broker, [f"later-{n}" for n in range(200)])

    writing = asyncio.ensure_future(write_on())
    end = await find_end(link, TIMEOUT)
    assert end is not None
    assert end >= start + 2999
    async with asyncio.timeout(60):
        entries = await read_all(link, start, until=end, empty_after=5)
    going_on = False
    await writing
    assert ids_of(entries)[:3000] == [f"e-{n}" for n in range(3000)]
    assert entries[-1].offset == end
    assert end <= (await read_all(link, "last"))[-1].offset + LONGEST_CHUNK


async def test_the_time_is_known_of_what_adrelay_has_published(
    resources: Resources, broker: AbstractConnection, link: BrokerConnection, start: int
) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    event = UserRegistered(id="e-1", source="urn:test", data=REGISTERED)
    await resources.publisher.publish(build_message(event))
    await write_log(broker, ["foreign"])
    first, second = await read_all(link, start)
    assert first.published_at is not None
    assert before <= first.published_at <= datetime.now(UTC)
    assert second.published_at is None


async def test_large_events_that_nobody_takes_stay_at_the_broker(
    settings: Settings, broker: AbstractConnection, start: int
) -> None:
    size, number = 1024 * 1024, 64
    own = settings.model_copy(update={"max_event_bytes": 2 * size})
    await write_log(broker, [f"e-{n}" for n in range(number)], b"x" * size)
    async with open_proxy(settings.rabbitmq_url) as proxy:
        link = BrokerConnection(own.model_copy(update={"rabbitmq_url": proxy.url()}), "test:log")
        async with aclosing(read_log(link, start, timeout=TIMEOUT, empty_after=1)) as batches:
            read = len(await anext(batches))
            assert read <= batcher.MAX_BATCH_BYTES // size + 1
            _, parser = await link.open_consumer_channel()
            await until(lambda: _is_full(parser.held))
            await asyncio.sleep(0.5)  # what is on its way arrives
            assert parser.held._held < MAX_HELD_BYTES + 2 * size
            async for batch in batches:
                assert all(len(entry.delivery.body) == size for entry in batch)
                read += len(batch)
        assert parser.held._held == 0
        await link.close()
    assert read == number


async def _is_full(held: object) -> bool:
    return bool(getattr(held, "_is_paused", False))


async def test_a_broker_that_goes_away_is_an_outage(
    settings: Settings, broker: AbstractConnection, start: int
) -> None:
    await write_log(broker, ["e-1"])
    async with open_proxy(settings.rabbitmq_url) as proxy:
        own = settings.model_copy(update={"rabbitmq_url": proxy.url(), "broker_timeout": 1})
        link = BrokerConnection(own, "test:log")
        batches = read_log(link, start, timeout=1, empty_after=None)
        assert ids_of(await anext(batches)) == ["e-1"]
        proxy.cut()
        with pytest.raises(Outage):
            await anext(batches)
        await link.close()


async def test_a_broker_that_says_nothing_has_not_come_to_the_end(
    settings: Settings, broker: AbstractConnection, start: int
) -> None:
    await write_log(broker, ["e-1"])
    async with open_proxy(settings.rabbitmq_url) as proxy:
        own = settings.model_copy(update={"rabbitmq_url": proxy.url(), "broker_timeout": 1})
        link = BrokerConnection(own, "test:log")
        batches = read_log(link, start, timeout=1, empty_after=EMPTY_AFTER)
        assert ids_of(await anext(batches)) == ["e-1"]
        proxy.freeze()
        with pytest.raises(Outage):
            await anext(batches)
        proxy.heal()
        await link.close()


async def test_a_log_that_is_missing_or_no_stream_is_named(
    broker: AbstractConnection, link: BrokerConnection
) -> None:
    async with broker.channel() as channel:
        await channel.queue_delete(topology.EVENT_LOG)
    with pytest.raises(LogAbsent, match=r"no queue 'adrelay\.history'"):
        await read_all(link, "first")
    for kind in ("quorum", "classic"):
        async with broker.channel() as channel:
            await channel.declare_queue(
                topology.EVENT_LOG, durable=True, arguments={"x-queue-type": kind}
            )
            with pytest.raises(LogAbsent, match=r"invalid arg|is no stream"):
                await read_all(link, "first")
            await channel.queue_delete(topology.EVENT_LOG)
    await topology_declaration.declare(broker)
