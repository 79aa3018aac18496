"""Finds the queues that a message is for."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from infra.amqp import topology
from infra.amqp.topology import WorkQueue
from infra.messaging.delivery import Delivery
from infra.messaging.routing_key import MAX_KEYS, parse_event_type


def _list_queues() -> dict[str, list[WorkQueue]]:
    found: dict[str, list[WorkQueue]] = {}
    for queue in topology.WORK_QUEUES:
        for event in queue.events:
            found.setdefault(event.event_type(), []).append(queue)
    return found


QUEUES_BY_TYPE: Mapping[str, list[WorkQueue]] = _list_queues()


def find_destination_queues(delivery: Delivery) -> Sequence[str]:
    """Find a message's queues: the one it was returning to, or those bound to its routing key."""
    if delivery.is_requeued:
        return [name for name in topology.WORK_QUEUE_NAMES if name == delivery.key]
    return find_bound_queues(delivery.key)


@lru_cache(maxsize=MAX_KEYS)
def find_bound_queues(routing_key: str) -> Sequence[str]:
    """Find the queues that are bound to a routing key."""
    kind = parse_event_type(routing_key)
    platform = routing_key[len(kind) + 1 :]
    queues = QUEUES_BY_TYPE.get(kind, ())
    return tuple(queue.name for queue in queues if queue.platform in (None, platform))
