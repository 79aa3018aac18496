"""The broker's policies that Adrelay sets: what can change without declaring a queue again."""

import re
from collections.abc import Mapping
from typing import Any

from infra.amqp import topology_declaration

FOREIGN_QUEUE_POLICY = "adrelay-foreign-queues"


def policies() -> Mapping[str, Mapping[str, Any]]:
    """List the policies by their names, each as the management API takes it."""
    return {FOREIGN_QUEUE_POLICY: _foreign_queue_policy()}


def _foreign_queue_policy() -> Mapping[str, Any]:
    """Let queues outside our names drop their oldest messages when they are full.

    A foreign quorum queue then loses its own messages instead of refusing what we publish. (For
    classic queues their own ``x-overflow`` argument wins over any policy: tried on 3.10.8.)
    """
    ours = "|".join(re.escape(queue.name) for queue in topology_declaration.queues())
    return {
        "pattern": f"^(?!(?:{ours})$)",
        "definition": {"overflow": "drop-head"},
        "apply-to": "queues",
        "priority": 0,
    }
