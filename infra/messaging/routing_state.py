"""Keeps in Postgres which paths to the queues are broken, and since when events may be lost.

While a path is broken, its events wait in the outbox and the worker of its queue is not ready.
A part of the topology that was there at an earlier check and is missing now has been lost, and
what was accepted since the last complete check may have reached no worker. ``lost_since`` keeps
that time until ``adrelay broker requeue-unrouted`` has sent those events again from the log.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.amqp.topology_check import TopologyPart, topology_parts

READ_TIMEOUT = 3.0  # seconds
MAX_NAMED_PARTS = 20  # missing parts that are stored by name
LOG_START = datetime(1970, 1, 1, tzinfo=UTC)  # stands for the beginning of the event log

INSERT_ROW = text("insert into routing (id) values (1) on conflict do nothing")
SELECT_ROW = text("select * from routing where id = 1")
SELECT_BROKEN_PATHS = text("select broken from routing where id = 1")
LOCK_ROW = text("select * from routing where id = 1 for update")
UPDATE_ROW = text("""
    update routing set checked_at = :checked_at, whole_at = :whole_at, broken = :broken,
        missing = :missing, known = :known, lost_since = :lost_since, lost_paths = :lost_paths
    where id = 1
""")
CLEAR_LOST = text("""
    update routing set lost_since = null, lost_paths = '{}'
    where id = 1 and lost_since = :since and lost_paths = cast(:paths as text[])
""")


@dataclass(frozen=True, slots=True)
class RoutingState:
    """What the latest checks of the topology have found. Times are aware, UTC; None: never."""

    checked_at: datetime | None = None
    whole_at: datetime | None = None
    broken: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()
    known: frozenset[str] = frozenset()
    lost_since: datetime | None = None
    lost_paths: frozenset[str] = frozenset()


async def get_broken_paths(tx: AsyncConnection) -> frozenset[str]:
    """Read which paths are broken."""
    found = (await tx.execute(SELECT_BROKEN_PATHS)).scalar_one_or_none()
    return frozenset(found or ())


async def read_broken_paths(engine: AsyncEngine) -> frozenset[str]:
    """Read which paths are broken; none while the database does not answer."""
    try:
        async with asyncio.timeout(READ_TIMEOUT), engine.connect() as connection:
            return await get_broken_paths(connection)
    except (SQLAlchemyError, OSError):
        return frozenset()


async def get_routing_state(tx: AsyncConnection) -> RoutingState:
    """Read the state; an empty one before the first check."""
    row = (await tx.execute(SELECT_ROW)).one_or_none()
    return RoutingState() if row is None else _parse_row(row)


async def record_check(
    tx: AsyncConnection, missing: Sequence[TopologyPart], at: datetime
) -> RoutingState:
    """Store the result of a check that began ``at`` a time, in UTC; returns the new state.

    What was lost with a queue, or on its way into a retry tier or a dead-letter queue, may have
    been accepted at any time: then ``lost_since`` is the beginning of the log.
    """
    await tx.execute(INSERT_ROW)
    before = _parse_row((await tx.execute(LOCK_ROW)).one())
    gone = {part.name for part in missing}
    lost = [part for part in missing if part.name in before.known]
    since = before.lost_since
    if lost:
        start = (
            LOG_START
            if any(part.holds_messages for part in lost) or before.whole_at is None
            else before.whole_at
        )
        since = start if since is None else min(since, start)
    after = RoutingState(
        checked_at=at,
        whole_at=before.whole_at if missing else at,
        broken=frozenset(path for part in missing for path in part.paths),
        missing=tuple(sorted(gone)[:MAX_NAMED_PARTS]),
        known=(before.known | {part.name for part, _ in topology_parts()} - gone),
        lost_since=since,
        lost_paths=before.lost_paths.union(*(part.paths for part in lost)),
    )
    values = {
        "checked_at": after.checked_at,
        "whole_at": after.whole_at,
        "broken": sorted(after.broken),
        "missing": list(after.missing),
        "known": sorted(after.known),
        "lost_since": after.lost_since,
        "lost_paths": sorted(after.lost_paths),
    }
    await tx.execute(UPDATE_ROW, values)
    return after


async def clear_lost(tx: AsyncConnection, routing: RoutingState) -> None:
    """Clear what ``routing`` says is lost, unless more has been lost since."""
    values = {"since": routing.lost_since, "paths": sorted(routing.lost_paths)}
    await tx.execute(CLEAR_LOST, values)


def _parse_row(row: Any) -> RoutingState:  # noqa: ANN401 - a row of SQLAlchemy
    return RoutingState(
        checked_at=row.checked_at,
        whole_at=row.whole_at,
        broken=frozenset(row.broken),
        missing=tuple(row.missing),
        known=frozenset(row.known),
        lost_since=row.lost_since,
        lost_paths=frozenset(row.lost_paths),
    )
