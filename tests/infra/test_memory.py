"""What a worker holds in memory is bounded in bytes, whatever is sent (issue 10, no. 3)."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import encode
from infra.amqp import topology
from infra.amqp.permissions import UPSTREAM_USER
from infra.settings import Settings
from tests.handlers.samples import put, running
from tests.infra.ledger import QUEUE, count, depth, report, until
from tests.infra.parties import METRICS, SOURCE, register
from tests.processes import Process
from tests.processes import running as running_process
from tests.raw_amqp.client import ACKED, open_publisher
from tests.raw_amqp.grammar import Properties, Publish
from tests.services import url_as

MIB = 1024 * 1024
LIMIT, LIMIT_OF_ONE = 300, 500  # MiB
WORKERS = ("workers.metrics", "workers.relay")
LETTERS = "select count(*) from dead_letters"
PROPERTIES = Properties(user_id=UPSTREAM_USER.encode(), delivery_mode=2)


@pytest.mark.parametrize(
    ("number", "size"),
    [
        pytest.param(500, 240_000, id="many that are not too large"),
        pytest.param(12, 8_000_000, id="a few that are"),
        pytest.param(1000, 240_000, marks=pytest.mark.long, id="1,000 of 240 kB"),
        pytest.param(100, 8_000_000, marks=pytest.mark.long, id="100 of 8 MB"),
        pytest.param(200, 15_000_000, marks=pytest.mark.long, id="200 of 15 MB"),
    ],
)
@pytest.mark.timeout(600)
async def test_bad_events_take_no_more_than_the_limit(
    settings: Settings,
    engine: AsyncEngine,
    broker: AbstractConnection,
    number: int,
    size: int,
) -> None:
    await register(engine, SOURCE)
    await put(engine, running(platform_campaign_id="c-1"))
    url = url_as(UPSTREAM_USER, settings.rabbitmq_url)
    good = encode(report(1, source=SOURCE))
    assert await _publish(url, number, size) == number
    await _publish_bodies(url, [good])
    async with _workers(settings) as workers:
        await until(lambda: _is(engine, "select count(*) from campaign_metrics", 1), 300)
        await until(lambda: _is(engine, LETTERS, number), 300)
        # A letter whose confirm was late was published twice, and is filed once.
        await until(lambda: _are_empty(broker), 300)
        peaks = {worker.module: _peak(worker) for worker in workers}
    assert all(peak < LIMIT * MIB for peak in peaks.values()), _in_mib(peaks)
    largest = await count(engine, "select max(octet_length(body)) from dead_letters")
    assert largest <= settings.max_event_bytes
    assert await count(engine, LETTERS) == number


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_one_of_100_mb_is_cut_or_refused(
    settings: Settings, engine: AsyncEngine, broker: AbstractConnection
) -> None:
    """The broker of an installation refuses it; one with RabbitMQ's own limit takes it."""
    await register(engine, SOURCE)
    url = url_as(UPSTREAM_USER, settings.rabbitmq_url)
    taken = await _publish(url, 1, 100_000_000)
    async with _workers(settings) as workers:
        await until(lambda: _is(engine, LETTERS, taken), 120)
        peaks = {worker.module: _peak(worker) for worker in workers}
    assert all(peak < LIMIT_OF_ONE * MIB for peak in peaks.values()), _in_mib(peaks)
    assert await depth(broker, QUEUE) == 0


async def _publish(url: str, number: int, size: int) -> int:
    """Publish bad events of so many bytes; tells how many the broker has taken."""
    taken = 0
    for first in range(0, number, 10):
        numbers = range(first, min(first + 10, number))
        taken += await _publish_bodies(url, [b"bad %06d" % n + b"x" * (size - 10) for n in numbers])
    return taken


async def _publish_bodies(url: str, bodies: Sequence[bytes]) -> int:
    key = METRICS.encode()
    async with open_publisher(url) as publisher:
        answers = await publisher.publish_all(
            [Publish(b"adrelay.events", key, PROPERTIES, body) for body in bodies]
        )
    return answers.count(ACKED)


@asynccontextmanager
async def _workers(settings: Settings) -> AsyncIterator[list[Process]]:
    async with AsyncExitStack() as held:
        yield [await held.enter_async_context(running_process(name, settings)) for name in WORKERS]


def _peak(worker: Process) -> int:
    """Tell the most bytes of memory that a process has ever held (Linux: VmHWM)."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def _in_mib(peaks: dict[str, int]) -> dict[str, int]:
    return {name: peak // MIB for name, peak in peaks.items()}


async def _is(engine: AsyncEngine, sql: str, number: int) -> bool:
    return await count(engine, sql) == number


async def _are_empty(broker: AbstractConnection) -> bool:
    """Tell whether neither the queue nor its dead-letter queue has a message ready."""
    depths = [await depth(broker, name) for name in (QUEUE, topology.dead_queue(QUEUE))]
    return sum(depths) == 0
