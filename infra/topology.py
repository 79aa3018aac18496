"""Every exchange and queue of Adrelay, their names, and how they hang together.

    publishers ──> adrelay.events (topic, the public entrance)
                      ├─ # ─> adrelay.history (stream: the event log)
                      └─ # ─> adrelay.work (topic, internal) ──> work queues
                                 └─ alternate: adrelay.unrouted (fanout) ──> adrelay.unrouted
    ingress ──> adrelay.requests (topic) ──> auth.session (messages expire)
    a worker that must wait ──> adrelay.retry.<tier> (fanout + quorum queue with a TTL)
                      └─ expiry ─> adrelay.back (direct: the work queue's own name)
    a worker that gives up ──> adrelay.dead (topic: the work queue's name) ──> <queue>.dead

All is durable. The names cannot change their kind or arguments later: a new kind is a new name.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractConnection
from pamqp.common import FieldTable

from events import (
    ApiKeyCreateRequested,
    ApiKeyRevokeRequested,
    AuditRecorded,
    CampaignCreateRequested,
    CampaignDeleted,
    CampaignDeleteRequested,
    CampaignMetricsRecorded,
    CampaignMetricsReported,
    CampaignRefused,
    CampaignSaved,
    CampaignStatusChanged,
    CampaignStatusReported,
    CampaignSynced,
    CampaignSyncRefused,
    CampaignSyncRequested,
    CampaignUpdateRequested,
    LoginRequested,
    LogoutRequested,
    PasswordChangeRequested,
    PlatformAccountConnected,
    PlatformAccountDisconnected,
    PlatformConnectRequested,
    PlatformDisconnectRequested,
    RefreshRequested,
    RegistrationRequested,
    SessionEndRequested,
    SessionRevoked,
    SessionStarted,
    UserPasswordChanged,
    UserRegistered,
    UserRoleChanged,
    UserRoleChangeRequested,
    WebhookUnrecognised,
)
from events.base import Event
from schemas.base import PLATFORMS

EVENTS = "adrelay.events"
WORK = "adrelay.work"
HISTORY = "adrelay.history"
UNROUTED = "adrelay.unrouted"
REQUESTS = "adrelay.requests"
BACK = "adrelay.back"
DEAD = "adrelay.dead"

# Seconds a message waits in each rung of the retry ladder.
TIERS: Mapping[str, float] = {"1s": 1, "5s": 5, "30s": 30, "5m": 300, "30m": 1800}

# The broker's own net below ours: it must never be the first to give up.
DELIVERY_LIMIT = 100
# -1 would mean "no limit" on 4.x but "drop at once" on 3.10.
NO_DELIVERY_LIMIT = 1_000_000
HISTORY_MAX_AGE = "7D"
HISTORY_MAX_BYTES = 10 * 1024**3
REQUEST_TTL_MS = 30_000
DECLARE_TIMEOUT = 10.0  # seconds


def retry_exchange(tier: str) -> str:
    """Name the exchange and the queue of a tier of the retry ladder."""
    return f"adrelay.retry.{tier}"


def dead_queue(queue: str) -> str:
    """Name the dead-letter queue of a work queue."""
    return f"{queue}.dead"


@dataclass(frozen=True, slots=True)
class WorkQueue:
    """A queue that a handler reads: ``events`` are bound to it, of one platform or of all."""

    name: str
    events: tuple[type[Event], ...]
    platform: str | None = None

    @property
    def patterns(self) -> tuple[str, ...]:
        """Binding patterns on ``adrelay.work``: the type, with or without a platform."""
        end = f".{self.platform}" if self.platform else ".#"
        return tuple(event.event_type() + end for event in self.events)


@dataclass(frozen=True, slots=True)
class RequestQueue:
    """A queue of requests that expire; no retry, no dead letters.

    A quorum queue as well: a classic one is on one node alone, and while that node is gone
    nobody could log in.
    """

    name: str
    events: tuple[type[Event], ...]


def _lane(platform: str) -> WorkQueue:
    campaigns = (CampaignSaved, CampaignDeleted, CampaignSyncRequested)
    events = (*campaigns, PlatformAccountConnected, PlatformAccountDisconnected)
    return WorkQueue(f"sync.{platform}", events, platform)


WORK_QUEUES: tuple[WorkQueue, ...] = (
    WorkQueue("auth.register", (RegistrationRequested,)),
    WorkQueue(
        "campaigns.apply",
        (CampaignCreateRequested, CampaignUpdateRequested, CampaignDeleteRequested),
    ),
    WorkQueue("campaigns.record", (CampaignSynced, CampaignSyncRefused, CampaignStatusReported)),
    *(_lane(platform) for platform in PLATFORMS),
    WorkQueue("metrics.record", (CampaignMetricsReported,)),
)
WORK_QUEUE_NAMES: tuple[str, ...] = tuple(queue.name for queue in WORK_QUEUES)
REQUEST_QUEUES: tuple[RequestQueue, ...] = (
    RequestQueue(
        "auth.session",
        (
            LoginRequested,
            RefreshRequested,
            LogoutRequested,
            SessionEndRequested,
            PasswordChangeRequested,
            ApiKeyCreateRequested,
            ApiKeyRevokeRequested,
            UserRoleChangeRequested,
            PlatformConnectRequested,
            PlatformDisconnectRequested,
        ),
    ),
)
# Facts without a worker by design: bound to the history, so that they are not "unrouted".
FACTS: tuple[type[Event], ...] = (
    UserRegistered,
    UserPasswordChanged,
    UserRoleChanged,
    SessionStarted,
    SessionRevoked,
    AuditRecorded,
    CampaignRefused,
    CampaignStatusChanged,
    CampaignMetricsRecorded,
    WebhookUnrecognised,
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange to declare."""

    name: str
    type: ExchangeType = ExchangeType.TOPIC
    internal: bool = False
    alternate: str | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue to declare, with its bindings ``(exchange, routing key)``."""

    name: str
    arguments: Mapping[str, Any]
    bindings: tuple[tuple[str, str], ...] = field(default=())


def _quorum(**arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - AMQP field values
    named = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    return {"x-queue-type": "quorum", **named}


def _work_queue(queue: WorkQueue) -> Queue:
    return Queue(
        queue.name,
        _quorum(
            dead_letter_exchange=DEAD,
            dead_letter_routing_key=queue.name,
            dead_letter_strategy="at-least-once",
            overflow="reject-publish",
            delivery_limit=DELIVERY_LIMIT,
        ),
        (*((WORK, pattern) for pattern in queue.patterns), (BACK, queue.name)),
    )


def _tier_queue(tier: str, seconds: float) -> Queue:
    name = retry_exchange(tier)
    return Queue(
        name,
        _quorum(
            message_ttl=int(seconds * 1000),
            dead_letter_exchange=BACK,
            dead_letter_strategy="at-least-once",
            overflow="reject-publish",
        ),
        ((name, ""),),
    )


def exchanges() -> tuple[Exchange, ...]:
    """List every exchange, alternates before those that name them."""
    return (
        Exchange(UNROUTED, ExchangeType.FANOUT),
        Exchange(WORK, internal=True, alternate=UNROUTED),
        Exchange(EVENTS),
        Exchange(REQUESTS),
        Exchange(BACK, ExchangeType.DIRECT, alternate=UNROUTED),
        Exchange(DEAD),
        *(Exchange(retry_exchange(tier), ExchangeType.FANOUT) for tier in TIERS),
    )


def queues() -> tuple[Queue, ...]:
    """List every queue with its arguments and bindings."""
    history = {
        "x-queue-type": "stream",
        "x-max-age": HISTORY_MAX_AGE,
        "x-max-length-bytes": HISTORY_MAX_BYTES,
    }
    kept = _quorum(delivery_limit=NO_DELIVERY_LIMIT)
    return (
        Queue(UNROUTED, kept, ((UNROUTED, ""),)),
        Queue(
            HISTORY,
            history,
            ((EVENTS, "#"), *((WORK, f"{fact.event_type()}.#") for fact in FACTS)),
        ),
        *(_tier_queue(tier, seconds) for tier, seconds in TIERS.items()),
        *(Queue(dead_queue(q.name), kept, ((DEAD, q.name),)) for q in WORK_QUEUES),
        *(_work_queue(queue) for queue in WORK_QUEUES),
        *(
            Queue(
                queue.name,
                _quorum(message_ttl=REQUEST_TTL_MS, delivery_limit=DELIVERY_LIMIT),
                tuple((REQUESTS, event.event_type()) for event in queue.events),
            )
            for queue in REQUEST_QUEUES
        ),
    )


async def declare(connection: AbstractConnection) -> None:
    """Declare everything on a channel of its own; idempotent.

    Raises ``aio_pika.exceptions.ChannelPreconditionFailed`` when something of that name
    exists with other arguments, ``TimeoutError`` when the broker does not answer.
    """
    async with asyncio.timeout(DECLARE_TIMEOUT * 3), connection.channel() as channel:
        for exchange in exchanges():
            arguments: FieldTable = {}
            if exchange.alternate:
                arguments["alternate-exchange"] = exchange.alternate
            await channel.declare_exchange(
                exchange.name,
                exchange.type,
                durable=True,
                internal=exchange.internal,
                arguments=arguments,
                timeout=DECLARE_TIMEOUT,
            )
        work = await channel.get_exchange(WORK, ensure=False)
        await work.bind(EVENTS, "#", timeout=DECLARE_TIMEOUT)
        for queue in queues():
            await _declare_queue(channel, queue)


async def _declare_queue(channel: AbstractChannel, queue: Queue) -> None:
    declared = await channel.declare_queue(
        queue.name,
        durable=True,
        arguments=dict(queue.arguments),
        timeout=DECLARE_TIMEOUT,
    )
    for exchange, routing_key in queue.bindings:
        await declared.bind(exchange, routing_key, timeout=DECLARE_TIMEOUT)
