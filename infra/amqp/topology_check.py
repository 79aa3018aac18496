"""Whether every path to the queues is whole: what the broker has, compared with the topology.

A publish is confirmed when *some* queue has taken it, and the event log, or a foreign queue that
is bound with ``#``, always does. So a lost exchange, queue or binding of ours is silent: the
relay looks for them over the management API. While a part is missing, the paths that need it
are broken: their events wait in the outbox, the worker of their queue is not ready.

A part that was there at an earlier look has been lost, and what was accepted since the last
look at which all was whole may have reached nobody. ``lost_since`` remembers that moment until
``python -m infra.commands.requeue_unrouted`` has brought back what the log has.
"""

import asyncio
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from events import EVENT_TYPES
from infra.amqp import declare, topology
from infra.messaging.outbox import BlockedPaths

REQUEST_QUEUE_NAMES = tuple(queue.name for queue in topology.REQUEST_QUEUES)
# Every path, by the queue in which it ends.
PATHS = (*topology.WORK_QUEUE_NAMES, *REQUEST_QUEUE_NAMES, topology.EVENT_LOG, topology.UNROUTED)
# Where a message goes that was taken from its queue.
TRANSFER_EXCHANGES = (
    topology.RETURN_EXCHANGE,
    topology.DEAD_LETTER_EXCHANGE,
    *map(topology.retry_exchange, topology.RETRY_TIERS),
)
READ_TIMEOUT = 3.0  # seconds
MAX_NAMED_PARTS = 20  # missing parts that are told by name
LOG_START = datetime(1970, 1, 1, tzinfo=UTC)  # since the beginning of the log

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
class TopologyPart:
    """An exchange, a queue or a binding, in words, and the paths that need it.

    What was lost with a part that ``keeps`` messages, or leads retries and dead letters, may
    have been accepted long ago.
    """

    name: str
    paths: frozenset[str]
    keeps: bool = False


@dataclass(frozen=True, slots=True)
class RoutingState:
    """What is known of the paths. Times are aware, UTC; None: never."""

    checked_at: datetime | None = None
    whole_at: datetime | None = None
    broken: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()
    known: frozenset[str] = frozenset()
    lost_since: datetime | None = None
    lost_paths: frozenset[str] = frozenset()

    @property
    def held(self) -> BlockedPaths:
        """What is not to be published now."""
        return blocked_by(self.broken)


def blocked_by(broken: Collection[str]) -> BlockedPaths:
    """Tell which event types and which queues alone cannot be reached by broken paths.

    Without the event log nothing is accepted into it, so every type is held.
    """
    queues = [queue for queue in topology.WORK_QUEUES if queue.name in broken]
    types = {event.event_type() for queue in queues for event in queue.events}
    if topology.EVENT_LOG in broken:
        types = set(EVENT_TYPES)
    return BlockedPaths(tuple(sorted(types)), tuple(queue.name for queue in queues))


def topology_parts() -> Iterator[tuple[TopologyPart, tuple[Any, ...]]]:
    """List every part of the topology, with the identity that the broker's list is asked for."""
    every = frozenset(topology.WORK_QUEUE_NAMES)
    needed = {
        topology.EVENTS_EXCHANGE: every | {topology.EVENT_LOG},
        topology.UNROUTED: frozenset({topology.UNROUTED}),
        topology.REQUEST_EXCHANGE: frozenset(REQUEST_QUEUE_NAMES),
    }
    for exchange in declare.exchanges():
        paths = needed.get(exchange.name, every)
        declared = {
            "name": exchange.name,
            "type": exchange.type.value,
            "durable": True,
            "internal": exchange.internal,
            "arguments": exchange.arguments,
        }
        keeps = exchange.name in TRANSFER_EXCHANGES
        yield TopologyPart(f"exchange {exchange.name}", paths, keeps), exchange_key(declared)
    name = f"binding {topology.EVENTS_EXCHANGE} -> {topology.WORK_EXCHANGE} (#)"
    yield (
        TopologyPart(name, every),
        ("binding", topology.EVENTS_EXCHANGE, "exchange", topology.WORK_EXCHANGE, "#"),
    )
    for queue in declare.queues():
        paths = _paths_of(queue.name, every)
        declared = {"name": queue.name, "durable": True, "arguments": dict(queue.arguments)}
        yield TopologyPart(f"queue {queue.name}", paths, keeps=True), queue_key(declared)
        for source, routing_key in queue.bindings:
            # A fact whose binding is lost is in the log all the same, and seen as unrouted.
            fact = queue.name == topology.EVENT_LOG and source == topology.WORK_EXCHANGE
            needs = frozenset({topology.UNROUTED}) if fact else paths
            name = f"binding {source} -> {queue.name} ({routing_key})"
            keeps = source in TRANSFER_EXCHANGES
            yield (
                TopologyPart(name, needs, keeps),
                ("binding", source, "queue", queue.name, routing_key),
            )


def _paths_of(queue: str, every: frozenset[str]) -> frozenset[str]:
    if queue in PATHS:
        return frozenset({queue})
    of_dead = {topology.dead_queue(name): name for name in topology.WORK_QUEUE_NAMES}
    return frozenset({of_dead[queue]}) if queue in of_dead else every


def exchange_key(told: Mapping[str, Any]) -> tuple[Any, ...]:
    """Identify an exchange by all that it is declared with, as the management API tells it."""
    names = ("name", "type", "durable", "internal")
    return ("exchange", *(told[name] for name in names), _text_of(told["arguments"]))


def queue_key(told: Mapping[str, Any]) -> tuple[Any, ...]:
    """Identify a queue by all that it is declared with, as the management API tells it."""
    return ("queue", told["name"], told["durable"], _text_of(told["arguments"]))


def _text_of(arguments: object) -> str:
    """Write arguments, in which others may have tables and lists, as text to compare."""
    return json.dumps(arguments, sort_keys=True)


def parse_listing(
    exchanges: Iterable[Mapping[str, Any]],
    queues: Iterable[Mapping[str, Any]],
    bindings: Iterable[Mapping[str, Any]],
) -> set[tuple[Any, ...]]:
    """Read what the management API lists as the same identities."""
    ends = ("source", "destination_type", "destination", "routing_key")
    return {
        *map(exchange_key, exchanges),
        *map(queue_key, queues),
        *(("binding", *(told[end] for end in ends)) for told in bindings),
    }


def missing_parts(found: Collection[tuple[Any, ...]]) -> list[TopologyPart]:
    """Tell which parts of the topology are not there, or not as they are declared."""
    return [part for part, key in topology_parts() if key not in found]


async def get_broken_paths(tx: AsyncConnection) -> frozenset[str]:
    """Read which paths are broken."""
    found = (await tx.execute(SELECT_BROKEN_PATHS)).scalar_one_or_none()
    return frozenset(found or ())


async def read_broken_paths(engine: AsyncEngine) -> frozenset[str]:
    """Read which paths are broken; none while the database does not tell."""
    try:
        async with asyncio.timeout(READ_TIMEOUT), engine.connect() as connection:
            return await get_broken_paths(connection)
    except (SQLAlchemyError, OSError):
        return frozenset()


async def get_routing_state(tx: AsyncConnection) -> RoutingState:
    """Read what was last known."""
    row = (await tx.execute(SELECT_ROW)).one_or_none()
    return RoutingState() if row is None else _parse_row(row)


async def record_check(
    tx: AsyncConnection, missing: Sequence[TopologyPart], at: datetime
) -> RoutingState:
    """Note the outcome of a look that began ``at`` a time; tells what is known now.

    What was lost with a queue, or on its way into a retry tier or a dead-letter queue, may have
    been accepted at any time, so the whole log is wanted then.
    """
    await tx.execute(INSERT_ROW)
    before = _parse_row((await tx.execute(LOCK_ROW)).one())
    gone = {part.name for part in missing}
    lost = [part for part in missing if part.name in before.known]
    since = before.lost_since
    if lost:
        began = (
            LOG_START
            if any(part.keeps for part in lost) or before.whole_at is None
            else before.whole_at
        )
        since = began if since is None else min(since, began)
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
    """Note that what ``routing`` says to be lost is back, unless more has been lost since."""
    asked = {"since": routing.lost_since, "paths": sorted(routing.lost_paths)}
    await tx.execute(CLEAR_LOST, asked)


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
