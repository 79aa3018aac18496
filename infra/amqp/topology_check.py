"""Compares the broker's exchanges, queues and bindings with the topology.

A publish is confirmed when *some* queue has taken it, and the event log, or a foreign queue that
is bound with ``#``, always does. So the broker reports nothing when an exchange, a queue or a
binding of the topology is lost: the relay compares them over the management API
(``infra.messaging.topology_monitor``). A path is named after the queue in which it ends. While a
part is missing, every path that needs it is broken.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from events import EVENT_TYPES
from infra.amqp import topology, topology_declaration

REQUEST_QUEUE_NAMES = tuple(queue.name for queue in topology.REQUEST_QUEUES)
PATHS = (*topology.WORK_QUEUE_NAMES, *REQUEST_QUEUE_NAMES, topology.EVENT_LOG, topology.UNROUTED)
# Where a worker republishes a message that it has taken from its queue.
TRANSFER_EXCHANGES = (
    topology.RETURN_EXCHANGE,
    topology.DEAD_LETTER_EXCHANGE,
    *map(topology.retry_exchange, topology.RETRY_TIERS),
)


@dataclass(frozen=True, slots=True)
class TopologyPart:
    """An exchange, a queue or a binding, described in words, and the paths that need it.

    ``holds_messages`` is true for a queue, and for what leads retries and dead letters: messages
    that were lost with it may have been accepted at any earlier time.
    """

    name: str
    paths: frozenset[str]
    holds_messages: bool = False


@dataclass(frozen=True, slots=True)
class BlockedPaths:
    """What cannot be published now: event types, and queues that are addressed directly."""

    types: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()


NOTHING_BLOCKED = BlockedPaths()


def blocked_by(broken: Collection[str]) -> BlockedPaths:
    """Find the event types and the queues that broken paths make unreachable.

    Without the event log every type is blocked, because an accepted event must be in the log.
    """
    queues = [queue for queue in topology.WORK_QUEUES if queue.name in broken]
    types = {event.event_type() for queue in queues for event in queue.events}
    if topology.EVENT_LOG in broken:
        types = set(EVENT_TYPES)
    return BlockedPaths(tuple(sorted(types)), tuple(queue.name for queue in queues))


def topology_parts() -> Iterator[tuple[TopologyPart, tuple[Any, ...]]]:
    """List every part of the topology, with the key to look for in the broker's listing."""
    every = frozenset(topology.WORK_QUEUE_NAMES)
    needed = {
        topology.EVENTS_EXCHANGE: every | {topology.EVENT_LOG},
        topology.UNROUTED: frozenset({topology.UNROUTED}),
        topology.REQUEST_EXCHANGE: frozenset(REQUEST_QUEUE_NAMES),
    }
    for exchange in topology_declaration.exchanges():
        paths = needed.get(exchange.name, every)
        declared = {
            "name": exchange.name,
            "type": exchange.type.value,
            "durable": True,
            "internal": exchange.internal,
            "arguments": exchange.arguments,
        }
        holds_messages = exchange.name in TRANSFER_EXCHANGES
        yield (
            TopologyPart(f"exchange {exchange.name}", paths, holds_messages),
            exchange_key(declared),
        )
    name = f"binding {topology.EVENTS_EXCHANGE} -> {topology.WORK_EXCHANGE} (#)"
    yield (
        TopologyPart(name, every),
        ("binding", topology.EVENTS_EXCHANGE, "exchange", topology.WORK_EXCHANGE, "#"),
    )
    for queue in topology_declaration.queues():
        paths = _find_paths(queue.name, every)
        declared = {"name": queue.name, "durable": True, "arguments": dict(queue.arguments)}
        yield TopologyPart(f"queue {queue.name}", paths, holds_messages=True), queue_key(declared)
        for source, routing_key in queue.bindings:
            # An event without a worker whose binding is lost is in the log nevertheless, and
            # counted as unrouted.
            history_only = queue.name == topology.EVENT_LOG and source == topology.WORK_EXCHANGE
            needs = frozenset({topology.UNROUTED}) if history_only else paths
            name = f"binding {source} -> {queue.name} ({routing_key})"
            holds_messages = source in TRANSFER_EXCHANGES
            yield (
                TopologyPart(name, needs, holds_messages),
                ("binding", source, "queue", queue.name, routing_key),
            )


def _find_paths(queue: str, every: frozenset[str]) -> frozenset[str]:
    if queue in PATHS:
        return frozenset({queue})
    of_dead = {topology.dead_queue(name): name for name in topology.WORK_QUEUE_NAMES}
    return frozenset({of_dead[queue]}) if queue in of_dead else every


def exchange_key(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """Build the comparison key of an exchange from what it is declared with."""
    names = ("name", "type", "durable", "internal")
    return ("exchange", *(entry[name] for name in names), _to_text(entry["arguments"]))


def queue_key(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """Build the comparison key of a queue from what it is declared with."""
    arguments = topology_declaration.drop_old_arguments(entry)
    return ("queue", entry["name"], entry["durable"], _to_text(arguments))


def _to_text(arguments: object) -> str:
    """Write arguments as text to compare; those of other programs may hold tables and lists."""
    return json.dumps(arguments, sort_keys=True)


def parse_listing(
    exchanges: Iterable[Mapping[str, Any]],
    queues: Iterable[Mapping[str, Any]],
    bindings: Iterable[Mapping[str, Any]],
) -> set[tuple[Any, ...]]:
    """Build the keys of everything that the management API lists."""
    ends = ("source", "destination_type", "destination", "routing_key")
    return {
        *map(exchange_key, exchanges),
        *map(queue_key, queues),
        *(("binding", *(entry[end] for end in ends)) for entry in bindings),
    }


def missing_parts(listed: Collection[tuple[Any, ...]]) -> list[TopologyPart]:
    """List the parts of the topology that are missing or declared otherwise."""
    return [part for part, key in topology_parts() if key not in listed]
