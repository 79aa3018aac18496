"""The whole topology as definitions that RabbitMQ imports: one file for an empty broker.

Exchanges come before topic permissions, in the file as in the two parts: see
``infra.amqp.permissions``, which writes users and permissions, for the brokers that need the parts.
"""

from collections.abc import Mapping
from typing import Any

from infra.amqp import topology_declaration
from infra.amqp.permissions import permission_definitions, resource_definitions
from infra.amqp.policies import LogRetention


def topology_definitions(
    vhost: str, passwords: Mapping[str, str], retention: LogRetention
) -> dict[str, Any]:
    """Write everything but permissions; ``passwords`` are by user, and only hashed in there."""
    exchanges, queues = topology_declaration.exchanges(), topology_declaration.queues()
    return resource_definitions(vhost, passwords, retention) | {
        "exchanges": [{"name": x.name, "vhost": vhost, **x.properties} for x in exchanges],
        "queues": [{"name": q.name, "vhost": vhost, **q.properties} for q in queues],
        "bindings": [
            {
                "source": binding.source,
                "vhost": vhost,
                "destination": binding.destination,
                "destination_type": binding.kind,
                "routing_key": binding.routing_key,
                "arguments": {},
            }
            for binding in topology_declaration.bindings()
        ],
    }


def write_parts(
    vhost: str, passwords: Mapping[str, str], retention: LogRetention
) -> Mapping[str, dict[str, Any]]:
    """Write ``resources``, ``permissions``, and ``all`` that is both."""
    resources = topology_definitions(vhost, passwords, retention)
    permissions = permission_definitions(vhost)
    return {"resources": resources, "permissions": permissions, "all": resources | permissions}
