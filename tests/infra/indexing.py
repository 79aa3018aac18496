"""The event index in a test: written for the length of a block, and waited for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.messaging.event_indexer import index_events
from infra.messaging.event_search import EventQuery, search_events
from infra.resources import Resources
from schemas.events import EventSearchResult, QueueOutcome
from tests.infra.ledger import until

ROWS = text("select * from event_index where event_id = :id or subject = :id order by log_offset")


@asynccontextmanager
async def indexing(resources: Resources) -> AsyncIterator[None]:
    """Index the log for the length of a block."""
    stop = asyncio.Event()
    task = asyncio.create_task(index_events(resources, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait({task}, timeout=20)
        assert task.done()
        task.result()


async def rows_of(engine: AsyncEngine, name: str) -> list[dict[str, Any]]:
    """Read the rows with this id or subject."""
    async with engine.connect() as connection:
        return [dict(row) for row in (await connection.execute(ROWS, {"id": name})).mappings()]


async def indexed(engine: AsyncEngine, name: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait for as many rows of an id or a subject."""
    found: list[dict[str, Any]] = []

    async def are_there() -> bool:
        found[:] = await rows_of(engine, name)
        return len(found) >= count

    await until(are_there)
    return found


async def search(engine: AsyncEngine, query: EventQuery) -> EventSearchResult:
    """Search in a transaction of its own."""
    async with engine.connect() as tx:
        return await search_events(tx, query)


async def find_outcome(
    engine: AsyncEngine, event_id: str, matches: Callable[[QueueOutcome], bool]
) -> QueueOutcome:
    """Wait until the only queue of an event has the outcome that a test wants."""
    last: list[QueueOutcome] = []

    async def is_there() -> bool:
        found = await search(engine, EventQuery("id", event_id))
        last[:] = [outcome for event in found.events for outcome in event.queues]
        return len(last) == 1 and matches(last[0])

    await until(is_there)
    return last[0]
