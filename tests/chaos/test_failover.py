"""A Postgres failover: the standby is promoted, and the old primary comes back read-only."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from time import monotonic

import pytest
from aio_pika.abc import AbstractConnection
from pydantic import SecretStr
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from infra.settings import Settings
from tests.chaos.pair import Pair, open_pair, port_of
from tests.chaos.report import SEED, Report, Struck
from tests.infra.ledger import QUEUE, count, create, depth, publish, report, until, written
from tests.processes import Process, running
from tests.proxy import Proxy, open_proxy

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

WORKER = "tests.infra.ledger_worker"
SPENT = ("adrelay.retry.1s", "adrelay.retry.5s", "adrelay.retry.30s", f"{QUEUE}.dead")
EVENTS = 400
IN_RECOVERY = "select count(*) from pg_stat_activity where pg_is_in_recovery()"


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with open_pair() as pair:
        yield pair


@pytest.fixture
async def proxy(pair: Pair) -> AsyncIterator[Proxy]:
    """What a client connects to, as to the name of a database behind which servers change."""
    async with open_proxy(SecretStr(pair.url(pair.primary))) as proxy:
        yield proxy


def engine_of(url: str) -> AsyncEngine:
    return create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"))


async def test_after_a_failover_everything_is_applied_and_no_attempt_is_spent(
    settings: Settings,
    broker: AbstractConnection,
    pair: Pair,
    proxy: Proxy,
    chaos_report: Report,
) -> None:
    there = settings.model_copy(update={"database_url": proxy.url()})
    old, new = engine_of(pair.url(pair.primary)), engine_of(pair.url(pair.standby))
    await create(old)
    async with running(WORKER, there, LEDGER_BATCH="20", LEDGER_SECONDS="0.05") as worker:
        publishing = asyncio.create_task(_publish_slowly(broker))
        await until(lambda: _has(old, 50))
        began = monotonic()
        await asyncio.to_thread(pair.lose_primary)
        await old.dispose()
        assert await count(old, IN_RECOVERY) > 0
        # The name still leads to the old primary, and the worker's sessions are read-only.
        await until(lambda: _says(worker, "SQLSTATE 25006"), 60)
        await worker.ready(status=503)
        await publishing
        await asyncio.to_thread(pair.promote_standby)
        proxy.lead_to("127.0.0.1", port_of(pair.standby))
        healed = monotonic()
        await until(lambda: _has(new, EVENTS), 15)
        drained = monotonic()
        await worker.ready(seconds=15)
    lines = await written(new)
    assert len(lines) == len(set(lines)) == EVENTS
    assert [await depth(broker, queue) for queue in (QUEUE, *SPENT)] == [0] * 5
    recovery = drained - healed
    chaos_report.add(Struck("Postgres failover", SEED, healed - began, None, recovery, recovery))
    for engine in (old, new):
        await engine.dispose()


async def _publish_slowly(broker: AbstractConnection) -> None:
    for first in range(0, EVENTS, 10):
        await publish(broker, *(report(1000 + n) for n in range(first, first + 10)))
        await asyncio.sleep(0.02)


async def _has(engine: AsyncEngine, lines: int) -> bool:
    return len(await written(engine)) >= lines


async def _says(worker: Process, words: str) -> bool:
    return words in worker.output
