"""Finds the queues that a message is for."""

from collections.abc import Mapping

from infra.amqp import topology
from infra.amqp.topology import WorkQueue
from infra.messaging.delivery import Delivery


def _list_queues() -> dict[str, list[WorkQueue]]:
    found: dict[str, list[WorkQueue]] = {}
    for queue in topology.WORK_QUEUES:
        for event in queue.events:
            found.setdefault(event.event_type(), []).append(queue)
    return found


QUEUES_BY_TYPE: Mapping[str, list[WorkQueue]] = _list_queues()


def find_destination_queues(delivery: Delivery) -> list[str]:
    """Find a message's queues: the one it was returning to, or those bound to its routing key."""
    if delivery.is_requeued:
        return [name for name in topology.WORK_QUEUE_NAMES if name == delivery.key]
    return find_bound_queues(delivery.key)


def find_bound_queues(routing_key: str) -> list[str]:
    """Find the queues that are bound to a routing key."""
    parts = routing_key.split(".", 3)
    kind, platform = ".".join(parts[:3]), ".".join(parts[3:])
    queues = QUEUES_BY_TYPE.get(kind, ())
    return [queue.name for queue in queues if queue.platform in (None, platform)]
