"""Finds the queues that a message is for."""

from infra.amqp import topology
from infra.messaging.delivery import Delivery


def find_destination_queues(delivery: Delivery) -> list[str]:
    """Find a message's queues: the one it was returning to, or those bound to its routing key."""
    if delivery.is_requeued:
        return [name for name in topology.WORK_QUEUE_NAMES if name == delivery.key]
    return find_bound_queues(delivery.key)


def find_bound_queues(routing_key: str) -> list[str]:
    """Find the queues that are bound to a routing key."""
    parts = routing_key.split(".", 3)
    kind, platform = ".".join(parts[:3]), ".".join(parts[3:])
    return [
        queue.name
        for queue in topology.WORK_QUEUES
        if kind in {event.event_type() for event in queue.events}
        and queue.platform in (None, platform)
    ]
