"""A Postgres that answers and takes no writes, as around a failover: an outage like any other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.settings import Settings
from tests.infra.ledger import QUEUE, count, create, depth, publish, report, until, written
from tests.processes import Process, running
from tests.services import Services

WORKER = "tests.infra.ledger_worker"
SPENT = ("adrelay.retry.1s", "adrelay.retry.5s", "adrelay.retry.30s", f"{QUEUE}.dead")
READ_ONLY = "default_transaction_read_only"


@pytest.fixture(autouse=True)
async def _ledger(engine: AsyncEngine) -> None:
    await create(engine)


@asynccontextmanager
async def read_only(services: Services, database: str) -> AsyncIterator[None]:
    """Let every session be read-only, those that begin now and those after them."""
    end = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database}'"  # noqa: S608 - the test's own name
    run = services.execute
    await asyncio.to_thread(run, f"alter database {database} set {READ_ONLY} = on")
    await asyncio.to_thread(run, end)
    try:
        yield
    finally:
        # Sessions that were opened meanwhile stay read-only.
        await asyncio.to_thread(run, f"alter database {database} reset {READ_ONLY}")


async def test_a_read_only_postgres_spends_no_attempt_and_everything_is_applied_after_it(
    services: Services, settings: Settings, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    name = (await _value(engine, "select current_database()")) or ""
    async with running(WORKER, settings) as worker:
        await publish(broker, *(report(n) for n in range(100, 130)))
        await until(lambda: _has(engine, 30))
        async with read_only(services, name):
            await publish(broker, *(report(n) for n in range(130, 200)))
            await worker.ready(status=503)
            reasons = await _reasons(worker)
            assert reasons[QUEUE].startswith("waiting: ")
            assert 'adrelay_consumer_waiting{queue="metrics.record"} 1.0' in await _metrics(worker)
            # Sessions were opened that stay read-only, and used.
            await until(lambda: _says(worker, "SQLSTATE 25006"))
        await engine.dispose()  # our own sessions were ended too
        await until(lambda: _has(engine, 100), 15)
        await worker.ready(seconds=15)
    assert len(set(await written(engine))) == 100
    assert [await depth(broker, queue) for queue in SPENT] == [0, 0, 0, 0]
    assert await count(engine, "select count(*) from suspects") == 0
    # The probe has one row, however often it is asked.
    assert await count(engine, "select count(*) from write_probes") == 1


async def _value(engine: AsyncEngine, sql: str) -> str | None:
    async with engine.connect() as connection:
        found: str | None = (await connection.execute(text(sql))).scalar()
        return found


async def _reasons(worker: Process) -> dict[str, str]:
    url = f"http://127.0.0.1:{worker.port}/readyz"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        body = await answer.json()
        assert not body["checks"]["database"]
        found: dict[str, str] = body["reasons"]
        return found


async def _metrics(worker: Process) -> str:
    url = f"http://127.0.0.1:{worker.port}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.text()


async def _says(worker: Process, words: str) -> bool:
    return words in worker.output


async def _has(engine: AsyncEngine, lines: int) -> bool:
    return len(await written(engine)) >= lines
