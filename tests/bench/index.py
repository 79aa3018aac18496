"""The event index: what it costs an event, and how fast it answers among ten million rows."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from statistics import median

import psutil
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.messaging.event_indexer import index_events
from infra.messaging.event_search import EventQuery, search_events
from infra.resources import open_resources
from infra.storage.event_index import COLUMNS
from infra.storage.event_index_partitions import DAY_FORMAT, PREFIX
from tests.bench.events import fill_ours
from tests.bench.results import Result
from tests.bench.stage import Stage, cpu_of, measured, say

EVENTS = 50_000  # indexed
ROWS = 10_000_000  # searched
DAYS = 7
SUBJECTS = 50_000  # each with 200 rows
ASKED = 40  # different values of a question
PATIENCE = 1200.0  # seconds
INDEXED = "select count(*) from event_index where source = 'urn:bench'"
FILL = f"""
    insert into {{table}} ({", ".join(COLUMNS)})
    select n, at, null, at, false, 'http POST /api/v1/events key=5f0c9ad4-3a55-4c0e-8a3e-6a1f1a0c',
        'campaign.metrics_reported.v1.claude', 'campaign.metrics_reported.v1', 'urn:bench:filled',
        'e-' || n, 's-' || n % {SUBJECTS}, md5((n / 4)::text),
        case when n % 4 > 0 then 'e-' || (n - 1) end, 'urn:bench:filled', null, null
    from (
        select n, $3::timestamptz + (n - $1) * interval '1 ms' * (86400000.0 / ($2 - $1)) as at
        from generate_series($1::bigint, $2::bigint - 1) as n
    ) as numbered
"""  # noqa: S608 - our own columns
PLANS = {
    "by id": "select * from event_index where event_id = 'e-4242424' order by logged_at limit 100",
    "by subject": """
        select * from event_index where subject = 's-4242'
            and (logged_at, log_offset) < ('9999-01-01', 0)
        order by logged_at desc, log_offset desc limit 20
    """,
}

Step = tuple[str, Callable[[Stage], Awaitable[list[Result]]]]


def steps(share: float) -> list[Step]:
    """List the measurements; ``share`` makes both smaller."""

    async def cost(stage: Stage) -> list[Result]:
        return await _measure_cost(stage, max(1000, int(EVENTS * share)))

    async def search(stage: Stage) -> list[Result]:
        return await _measure_searches(stage, max(DAYS * 1000, int(ROWS * share)))

    return [("index: an event", cost), ("index: searches", search)]


async def _measure_cost(stage: Stage, count: int) -> list[Result]:
    """Index events that are in the log; this process does nothing else meanwhile."""
    await stage.clear()
    await stage.database.execute("truncate event_index, log_positions")
    await fill_ours(stage.publisher, count)
    backend = psutil.Process(await stage.database.fetchval("select pg_backend_pid()"))
    servers = backend.ppid()
    postgres, own, began = measured(servers, cpu_of), time.process_time(), time.perf_counter()
    async with _indexing(stage):
        while await stage.database.fetchval(INDEXED) < count:
            await asyncio.sleep(0.25)
        own, seconds = time.process_time() - own, time.perf_counter() - began
        postgres = measured(servers, cpu_of) - postgres
    return [
        Result("index", "an event: relay", "us/event", own / count * 1e6),
        Result("index", "an event: Postgres", "us/event", postgres / count * 1e6),
        Result("index", "catching up, with pauses for the outbox", "events/s", count / seconds),
    ]


@asynccontextmanager
async def _indexing(stage: Stage) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with open_resources(stage.settings, "bench-index") as resources:
        task = asyncio.create_task(index_events(resources, stop))
        try:
            yield
        finally:
            stop.set()
            await task


async def _measure_searches(stage: Stage, rows: int) -> list[Result]:
    """Ask among rows of a week, each value once, and show the plans."""
    size = await _fill(stage, rows)
    results = [Result("index", "size of a row with its indexes", "bytes", float(size) / rows)]
    for name, query in PLANS.items():
        lines = await stage.database.fetch(f"explain (analyze, costs off) {query}")
        say("\n".join([f"plan {name}:", *(f"  {line[0]}" for line in lines)]))
    async with open_resources(stage.settings, "bench-index") as resources:
        for field, prefix, most in (("id", "e", rows), ("subject", "s", SUBJECTS)):
            seen = [
                await _ask(resources.engine, EventQuery(field, f"{prefix}-{n * most // ASKED}"))  # type: ignore[arg-type]
                for n in range(ASKED)
            ]
            name = f"by {field} among {rows:,}"
            results.append(Result("index", f"{name}: median", "ms", median(seen)))
            results.append(Result("index", f"{name}: slowest", "ms", max(seen)))
    return results


async def _fill(stage: Stage, rows: int) -> int:
    """Fill a partition for each day, and index it then; gives the bytes on disk."""
    say(f"filling the event index with {rows:,} rows")
    await stage.database.execute("truncate event_index")
    first = datetime.now(UTC).date() - timedelta(days=DAYS + 30)
    part = rows // DAYS
    for number in range(DAYS):
        await _fill_day(stage, first + timedelta(days=number), number * part, part)
    await stage.database.execute("vacuum analyze event_index", timeout=PATIENCE)
    await stage.database.execute("checkpoint", timeout=PATIENCE)
    size: int = await stage.database.fetchval(
        "select sum(pg_total_relation_size(inhrelid)) from pg_inherits"
        " where inhparent = 'event_index'::regclass"
    )
    return size


async def _fill_day(stage: Stage, day: date, start: int, count: int) -> None:
    table = f"{PREFIX}{day:{DAY_FORMAT}}"
    database, at = stage.database, datetime(day.year, day.month, day.day, tzinfo=UTC)
    await database.execute(f"drop table if exists {table}")
    await database.execute(f"create table {table} (like event_index including defaults)")
    await database.execute(FILL.format(table=table), start, start + count, at, timeout=PATIENCE)
    following = day + timedelta(days=1)
    await database.execute(
        f"alter table event_index attach partition {table}"
        f" for values from ('{day} 00:00:00+00') to ('{following} 00:00:00+00')",
        timeout=PATIENCE,
    )


async def _ask(engine: AsyncEngine, query: EventQuery) -> float:
    """Search, and give the milliseconds until the whole answer."""
    async with engine.connect() as tx:
        began = time.perf_counter()
        found = await search_events(tx, query)
        seconds = time.perf_counter() - began
    if not found.events:
        raise RuntimeError(f"nothing is found: {query}")
    return seconds * 1000
