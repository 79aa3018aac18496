"""The broker's policies that Adrelay sets: what can change without declaring a queue again."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from infra.amqp import topology, topology_declaration
from infra.settings import Settings

FOREIGN_QUEUE_POLICY = "adrelay-foreign-queues"
EVENT_LOG_POLICY = "adrelay-event-log"


class LogRetention(NamedTuple):
    """How long the event log is kept: an age such as ``7D``, and a number of bytes."""

    max_age: str
    max_bytes: int


def get_log_retention(settings: Settings) -> LogRetention:
    """Take the retention of the event log from the settings."""
    return LogRetention(settings.history_max_age, settings.history_max_bytes)


DEFAULT_RETENTION = LogRetention(
    Settings.model_fields["history_max_age"].default,
    Settings.model_fields["history_max_bytes"].default,
)


def policies(retention: LogRetention = DEFAULT_RETENTION) -> Mapping[str, Mapping[str, Any]]:
    """List the policies by their names, each as the management API takes it."""
    return {
        FOREIGN_QUEUE_POLICY: _foreign_queue_policy(),
        EVENT_LOG_POLICY: _event_log_policy(retention),
    }


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


def _event_log_policy(retention: LogRetention) -> Mapping[str, Any]:
    """Let the event log drop its oldest segments, by age and by size.

    The broker looks when a segment (500 MB) is full, so the newest segment stays whatever its age
    (RabbitMQ manual, "Streams", section "Data Retention"). Of operator policies, which merge with
    others, none knows ``max-age`` (3.10.8: "not recognised policy settings").
    """
    return {
        "pattern": f"^{re.escape(topology.EVENT_LOG)}$",
        "definition": {
            "max-age": retention.max_age,
            "max-length-bytes": retention.max_bytes,
        },
        "apply-to": "queues",
        "priority": 0,
    }
