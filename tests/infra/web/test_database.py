"""A query that is slow is one thing, a server that says nothing is another."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.errors import Outage
from infra.settings import Settings
from infra.storage.engine import open_engine
from infra.web import database as module
from infra.web.database import Database, QueryConflict, SlowQuery
from tests.proxy import Proxy, open_proxy

ONE = text("select 1")
SLEEP = text("select pg_sleep(30)")
SLEEPING = text("""
    select count(*) from pg_stat_activity
    where query like '%pg_sleep%' and state = 'active' and pid <> pg_backend_pid()
""")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUERY_TIMEOUT", 1.0)


@pytest.fixture
async def proxy(settings: Settings) -> AsyncIterator[Proxy]:
    async with open_proxy(settings.database_url) as proxy:
        yield proxy
        proxy.cut()


@pytest.fixture
async def engine(settings: Settings, proxy: Proxy) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(settings.model_copy(update={"database_url": proxy.url()}))
    yield engine
    await engine.dispose()


async def ask(tx: AsyncConnection) -> int:
    return int((await tx.execute(ONE)).scalar_one())


async def sleep(tx: AsyncConnection) -> None:
    await tx.execute(SLEEP)


async def count_sleeping(tx: AsyncConnection) -> int:
    return int((await tx.execute(SLEEPING)).scalar_one())


async def test_a_slow_query_is_cancelled_and_nobody_else_suffers(engine: AsyncEngine) -> None:
    database = Database(engine)
    for run in (database.read, database.write):
        with pytest.raises(SlowQuery, match="longer than 1 s"):
            await run(sleep)
        assert await database.read(ask) == 1
    async with asyncio.timeout(10):
        while await database.read(count_sleeping):
            await asyncio.sleep(0.05)


async def test_a_query_on_a_table_that_was_changed_meanwhile_is_run_again(
    engine: AsyncEngine, settings: Settings
) -> None:
    """As in an upgrade: the plan that a session has kept no longer fits."""
    database = Database(engine)

    async def read(tx: AsyncConnection) -> int:
        return len((await tx.execute(text("select * from write_probes"))).keys())

    columns = await database.read(read)
    other = open_engine(settings)
    for change in ("add column other int", "drop column other"):
        async with other.begin() as tx:
            await tx.execute(text(f"alter table write_probes {change}"))
        found = await database.read(read)
        assert found == columns + change.startswith("add")
    await other.dispose()


async def test_a_conflict_is_run_again_once_and_is_no_outage(engine: AsyncEngine) -> None:
    database, runs = Database(engine), 0

    async def conflict(tx: AsyncConnection) -> None:
        nonlocal runs
        runs += 1
        await tx.execute(text("do $$ begin raise sqlstate '40P01'; end $$"))

    for run in (database.read, database.write):
        with pytest.raises(QueryConflict):
            await run(conflict)
        assert await database.read(ask) == 1
    assert runs == 4


async def test_while_the_server_says_nothing_one_query_waits_and_the_others_fail_at_once(
    engine: AsyncEngine, proxy: Proxy
) -> None:
    database = Database(engine)
    assert await database.read(ask) == 1
    proxy.freeze()
    with pytest.raises(Outage, match="in time") as first:
        await database.read(ask)
    assert not isinstance(first.value, SlowQuery)
    with pytest.raises(Outage, match="a moment ago"):
        await database.read(ask)
    proxy.heal()
    async with asyncio.timeout(10):
        while True:
            try:
                assert await database.read(ask) == 1
            except Outage:
                await asyncio.sleep(0.1)
            else:
                break
