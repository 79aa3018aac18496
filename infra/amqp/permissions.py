r"""The broker's users and what each may do, as definitions that RabbitMQ imports.

    adrelay-ingress    publishes what clients and platforms send, and calls the auth worker
    adrelay-console    shows admins what happens: calls the auth worker for their logins
    adrelay-workers    read their queues; publish, reply, retry, dead-letter, relay the outbox
    adrelay-upstream   a system of the company's own: publishes its events, and nothing else
    adrelay-ops        declares and binds what ``infra.amqp.topology`` names; reads and repairs

``adrelay broker permissions`` prints them. Passwords appear only as salted hashes. A user without
a known password is left out, and keeps the password that the broker knows: so without passwords
the import renews the permissions alone.

A topic permission needs its exchange, so the exchanges that are named in one are among the
definitions, with the arguments that the release step declares them with. RabbitMQ 4.0.0 to 4.1.3
imports topic permissions before exchanges, in any order of the file, and with Khepri it can then
never declare the exchange (rabbitmq-server, pull request 14407): there, import PART ``resources``
and then PART ``permissions``.

RabbitMQ matches these expressions against names anywhere, hence the anchors; ``\z``, because
``$`` would let a line feed follow. A topic permission limits the routing keys on one exchange.
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from events import (
    EVENT_TYPES,
    INGRESS_EVENTS,
    UPSTREAM_EVENTS,
    LoginRequested,
    LogoutRequested,
    RefreshRequested,
)
from events.envelope import Event
from infra.amqp import topology, topology_declaration
from infra.amqp.policies import DEFAULT_RETENTION, LogRetention, policies
from schemas.types import PLATFORMS

INGRESS_USER = "adrelay-ingress"
CONSOLE_USER = "adrelay-console"
WORKERS_USER = "adrelay-workers"
UPSTREAM_USER = "adrelay-upstream"
OPS_USER = "adrelay-ops"

VHOST = "adrelay"
CONSOLE_REQUESTS = (LoginRequested, RefreshRequested, LogoutRequested)
NO_ACCESS = "^$"
DEFAULT_EXCHANGE = "amq.default"  # what permissions call the exchange without a name
TEMPORARY_QUEUES = r"amq\.gen-[\w-]+"  # queues that the broker names: a look at what passes
USER_NAME = re.compile(r"[A-Za-z0-9_.-]+")  # in a file of passwords
HASHING_ALGORITHM = "rabbit_password_hashing_sha256"
SALT_BYTES = 4


@dataclass(frozen=True, slots=True)
class BrokerUser:
    """A user of the broker; ``topics`` are the event types it may publish to an exchange."""

    name: str
    configure: str = NO_ACCESS
    write: str = NO_ACCESS
    read: str = NO_ACCESS
    topics: Mapping[str, Sequence[type[Event]]] = field(default_factory=dict)
    tags: str = ""


def broker_users() -> tuple[BrokerUser, ...]:
    """List the users; each has the least that its work needs."""
    work, requests = topology.WORK_QUEUE_NAMES, topology.REQUEST_QUEUES
    asked = [event for queue in requests for event in queue.events]
    carried = [event for event in EVENT_TYPES.values() if event not in asked]
    tiers = map(topology.retry_exchange, topology.RETRY_TIERS)
    answers = (
        topology.EVENTS_EXCHANGE,
        topology.RETURN_EXCHANGE,
        topology.DEAD_LETTER_EXCHANGE,
        *tiers,
        DEFAULT_EXCHANGE,
    )
    own_queues = [*work, *map(topology.dead_queue, work), *(queue.name for queue in requests)]
    # The relay counts what waits; newer brokers show a queue only to users with a permission on it
    # (https://github.com/rabbitmq/rabbitmq-server/pull/16272).
    counted = [*own_queues, topology.UNROUTED]
    # The relay indexes the event log, and recovers from it what broken paths have missed.
    read = [*counted, topology.EVENT_LOG]
    everything = {exchange.name for exchange in topology_declaration.exchanges()}
    everything |= {queue.name for queue in topology_declaration.queues()}
    ours = _match_any((*map(re.escape, sorted(everything)), TEMPORARY_QUEUES))
    return (
        BrokerUser(
            INGRESS_USER,
            write=_match_names(topology.EVENTS_EXCHANGE, topology.REQUEST_EXCHANGE),
            topics={topology.EVENTS_EXCHANGE: INGRESS_EVENTS, topology.REQUEST_EXCHANGE: asked},
        ),
        # What admins do leaves through the outbox, as the workers' user.
        BrokerUser(
            CONSOLE_USER,
            write=_match_names(topology.REQUEST_EXCHANGE),
            read=_match_names(topology.EVENT_LOG),
            topics={topology.REQUEST_EXCHANGE: CONSOLE_REQUESTS},
        ),
        BrokerUser(
            WORKERS_USER,
            write=_match_names(*answers),
            read=_match_names(*read),
            topics={topology.EVENTS_EXCHANGE: carried},
        ),
        BrokerUser(
            UPSTREAM_USER,
            write=_match_names(topology.EVENTS_EXCHANGE),
            topics={topology.EVENTS_EXCHANGE: UPSTREAM_EVENTS},
        ),
        BrokerUser(OPS_USER, configure=ours, write=ours, read=ours, tags="policymaker"),
    )


def definitions(
    vhost: str = VHOST,
    passwords: Mapping[str, str] | None = None,
    retention: LogRetention = DEFAULT_RETENTION,
) -> dict[str, Any]:
    """Write the definitions of a vhost; ``passwords`` are by user, and only hashed in there."""
    return resource_definitions(vhost, passwords, retention) | permission_definitions(vhost)


def resource_definitions(
    vhost: str = VHOST,
    passwords: Mapping[str, str] | None = None,
    retention: LogRetention = DEFAULT_RETENTION,
) -> dict[str, Any]:
    """Write what permissions are about: the vhost, users, exchanges, and policies."""
    known = passwords or {}
    named = {exchange for user in broker_users() for exchange in user.topics}
    return {
        "vhosts": [{"name": vhost}],
        "users": [
            {
                "name": user.name,
                "password_hash": hash_password(known[user.name]),
                "hashing_algorithm": HASHING_ALGORITHM,
                "tags": user.tags,
            }
            for user in broker_users()
            if user.name in known
        ],
        "exchanges": [
            {"name": exchange.name, "vhost": vhost, **exchange.properties}
            for exchange in topology_declaration.exchanges()
            if exchange.name in named
        ],
        "policies": [
            {"vhost": vhost, "name": name, **policy} for name, policy in policies(retention).items()
        ],
    }


def permission_definitions(vhost: str = VHOST) -> dict[str, Any]:
    """Write who may do what in a vhost whose exchanges are there."""
    return {
        "permissions": [_permission(user, vhost) for user in broker_users()],
        "topic_permissions": [
            {
                "user": user.name,
                "vhost": vhost,
                "exchange": exchange,
                "write": topic_pattern(events),
                "read": NO_ACCESS,
            }
            for user in broker_users()
            for exchange, events in user.topics.items()
        ],
    }


def _permission(user: BrokerUser, vhost: str) -> dict[str, str]:
    allowed = {"configure": user.configure, "write": user.write, "read": user.read}
    return {"user": user.name, "vhost": vhost, **allowed}


def topic_pattern(events: Iterable[type[Event]]) -> str:
    """Match the routing keys of event types, with a platform where they are routed by it."""
    platform = rf"(\.({'|'.join(PLATFORMS)}))?"
    keys = (re.escape(e.event_type()) + platform * e.routed_by_platform for e in events)
    return _match_any(keys)


def hash_password(password: str, salt: bytes | None = None) -> str:
    """Hash a password as RabbitMQ stores it: a salt of four bytes, then SHA-256 of both."""
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _match_names(*names: str) -> str:
    return _match_any(map(re.escape, names))


def _match_any(patterns: Iterable[str]) -> str:
    return rf"^({'|'.join(patterns)})\z"
