"""A bad network between us and the broker: cut, black holes, delay, resets.

The proxy stands before the tests' broker for these tests alone; reader and publisher are in
this process.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsReported
from events.envelope import Event
from infra.amqp.message import build_message
from infra.messaging.context import Context
from infra.resources import Resources, open_resources
from infra.settings import Settings
from tests.chaos.report import Report
from tests.infra.ledger import QUEUE, consuming, create, depth, report, until, write, written
from tests.proxy import Proxy, Way, open_proxy

Reports = list[CampaignMetricsReported]
LONG = pytest.mark.long
PACE = 0.02  # seconds between two publishes


async def note(events: Reports, ctx: Context) -> Sequence[Event]:
    await write(ctx.tx, events)
    return ()


@asynccontextmanager
async def behind(
    settings: Settings, *, patience: float = 1.0
) -> AsyncIterator[tuple[Proxy, Resources]]:
    """Open what a process holds, with a proxy before the broker; it waits ``patience`` seconds."""
    async with open_proxy(settings.rabbitmq_url) as proxy:
        own = settings.model_copy(
            update={"rabbitmq_url": proxy.url(), "broker_timeout": patience, "heartbeat": 5}
        )
        async with open_resources(own, "chaos") as resources:
            yield proxy, resources


PATIENCE = 10.0  # seconds: slow is no outage, on a busy machine either


class Stream:
    """Publishes numbered events, each until it is confirmed, as the outbox would."""

    def __init__(self, resources: Resources, *, patience: float = 1.0) -> None:
        self._publisher = resources.publisher
        self._patience = patience  # seconds
        self.confirmed: list[str] = []
        self.failures = 0

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(self._flow(stop))
        try:
            yield
        finally:
            stop.set()
            await task

    async def _flow(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            event = report(1000 + len(self.confirmed))
            while (
                await self._publisher.publish_all([build_message(event)], timeout=self._patience)
            )[0]:
                self.failures += 1
                await asyncio.sleep(PACE)
            self.confirmed.append(event.id)
            await asyncio.sleep(PACE)

    async def grows(self, by: int = 10) -> bool:
        """Wait until so many more are confirmed."""
        goal = len(self.confirmed) + by
        await until(lambda: self._has(goal), 40)
        return True

    async def _has(self, goal: int) -> bool:
        return len(self.confirmed) >= goal


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    "after",
    [pytest.param(1, marks=LONG), 300, pytest.param(5000, marks=LONG)],
)
async def test_connections_that_break_off_within_a_frame_lose_nothing(
    settings: Settings,
    engine: AsyncEngine,
    broker: AbstractConnection,
    after: int,
    chaos_report: Report,
) -> None:
    await create(engine)
    async with behind(settings) as (proxy, resources), consuming(resources, note):
        stream = Stream(resources)
        async with stream.flowing():
            await stream.grows()
            with chaos_report.watching(f"network: cut after {after} bytes") as watch:
                proxy.cut_after(after)
                await until(lambda: _broken(proxy), 20)
                watch.heal()
                await stream.grows()
        await _all_applied(engine, broker, stream)
    assert proxy.broken > 0


@pytest.mark.timeout(90)
@pytest.mark.parametrize("way", [Way.THERE, pytest.param(Way.BACK, marks=LONG)])
async def test_a_black_hole_in_one_direction_loses_nothing(
    settings: Settings,
    engine: AsyncEngine,
    broker: AbstractConnection,
    way: Way,
    chaos_report: Report,
) -> None:
    await create(engine)
    async with behind(settings) as (proxy, resources), consuming(resources, note):
        stream = Stream(resources)
        async with stream.flowing():
            await stream.grows()
            with chaos_report.watching(f"network: black hole {way.value}") as watch:
                proxy.swallow(way)
                await until(lambda: _failed(stream), 20)
                # What was swallowed never arrives: such a connection can only be broken off.
                proxy.cut()
                proxy.heal()
                watch.heal()
                await stream.grows()
        await _all_applied(engine, broker, stream)
    assert proxy.swallowed > 0


async def test_a_slow_network_is_only_slow(
    settings: Settings, engine: AsyncEngine, broker: AbstractConnection
) -> None:
    await create(engine)
    async with (
        behind(settings, patience=PATIENCE) as (proxy, resources),
        consuming(resources, note),
    ):
        stream = Stream(resources, patience=PATIENCE)
        async with stream.flowing():
            await stream.grows()
            proxy.delay = 0.2
            began = asyncio.get_running_loop().time()
            await stream.grows(5)
            # One of the five may have been on its way before.
            assert asyncio.get_running_loop().time() - began >= 4 * 0.4
            proxy.delay = 0.0
        await _all_applied(engine, broker, stream)
    assert stream.failures == 0


@pytest.mark.long
async def test_reset_connections_come_back(
    settings: Settings, engine: AsyncEngine, broker: AbstractConnection, chaos_report: Report
) -> None:
    await create(engine)
    async with behind(settings) as (proxy, resources), consuming(resources, note):
        stream = Stream(resources)
        async with stream.flowing():
            await stream.grows()
            before = proxy.connections
            for _ in range(3):
                with chaos_report.watching("network: reset") as watch:
                    proxy.cut()
                    proxy.heal()
                    watch.heal()
                    await stream.grows()
        await _all_applied(engine, broker, stream)
    assert proxy.connections >= before + 3


async def _all_applied(engine: AsyncEngine, broker: AbstractConnection, stream: Stream) -> None:
    async def done() -> bool:
        return set(stream.confirmed) <= set(await written(engine))

    await until(done)
    ids = await written(engine)
    assert len(ids) == len(set(ids))
    assert await depth(broker, f"{QUEUE}.dead") == 0


async def _broken(proxy: Proxy) -> bool:
    return proxy.broken > 0


async def _failed(stream: Stream) -> bool:
    return stream.failures > 0
