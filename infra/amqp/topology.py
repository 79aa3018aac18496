"""Names every exchange and queue of Adrelay, and how they are bound.

    publishers ──> adrelay.events (topic, the public entrance)
                      ├─ # ─> adrelay.history (stream: the event log)
                      └─ # ─> adrelay.work (topic, internal) ──> work queues
                                 └─ alternate: adrelay.unrouted (fanout) ──> adrelay.unrouted
    ingress ──> adrelay.requests (topic) ──> auth.session (messages expire)
    a message to be retried ──> adrelay.retry.<tier> (fanout + quorum queue with a TTL)
                      └─ expiry ─> adrelay.back (direct: the work queue's own name)
    a message that failed for good ──> adrelay.dead (topic: the work queue's name) ──> <queue>.dead

All is durable. The names cannot change their kind or arguments later: a new kind is a new name.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from events import (
    AUTH_REQUESTS,
    AuditRecorded,
    CampaignCommandRejected,
    CampaignCreateRequested,
    CampaignDeleted,
    CampaignDeleteRequested,
    CampaignMetricsRecorded,
    CampaignMetricsReported,
    CampaignSaved,
    CampaignStatusChanged,
    CampaignStatusCheckRequested,
    CampaignStatusReported,
    CampaignSynced,
    CampaignSyncRejected,
    CampaignSyncRequested,
    CampaignUpdateRequested,
    PlatformAccountConnected,
    PlatformAccountDisconnected,
    RegistrationRequested,
    SessionRevoked,
    SessionStarted,
    UserPasswordChanged,
    UserRegistered,
    UserRoleChanged,
    WebhookUnrecognised,
)
from events.envelope import Event
from schemas.types import PLATFORMS

EVENTS_EXCHANGE = "adrelay.events"
WORK_EXCHANGE = "adrelay.work"
EVENT_LOG = "adrelay.history"
UNROUTED = "adrelay.unrouted"
REQUEST_EXCHANGE = "adrelay.requests"
RETURN_EXCHANGE = "adrelay.back"
DEAD_LETTER_EXCHANGE = "adrelay.dead"

# Seconds a message waits in each rung of the retry ladder.
RETRY_TIERS: Mapping[str, float] = {"1s": 1, "5s": 5, "30s": 30, "5m": 300, "30m": 1800}


def retry_exchange(tier: str) -> str:
    """Name the exchange and the queue of a tier of the retry ladder."""
    return f"adrelay.retry.{tier}"


# Where Adrelay's processes publish; "" is the broker's default exchange, for replies.
PUBLISH_EXCHANGES: tuple[str, ...] = (
    EVENTS_EXCHANGE,
    REQUEST_EXCHANGE,
    RETURN_EXCHANGE,
    DEAD_LETTER_EXCHANGE,
    *map(retry_exchange, RETRY_TIERS),
    "",
)


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
    no login would work.
    """

    name: str
    events: tuple[type[Event], ...]


def _sync_queue(platform: str) -> WorkQueue:
    campaigns = (
        CampaignSaved,
        CampaignDeleted,
        CampaignSyncRequested,
        CampaignStatusCheckRequested,
    )
    events = (*campaigns, PlatformAccountConnected, PlatformAccountDisconnected)
    return WorkQueue(f"sync.{platform}", events, platform)


WORK_QUEUES: tuple[WorkQueue, ...] = (
    WorkQueue("auth.register", (RegistrationRequested,)),
    WorkQueue(
        "campaigns.apply",
        (CampaignCreateRequested, CampaignUpdateRequested, CampaignDeleteRequested),
    ),
    WorkQueue("campaigns.record", (CampaignSynced, CampaignSyncRejected, CampaignStatusReported)),
    *(_sync_queue(platform) for platform in PLATFORMS),
    WorkQueue("metrics.record", (CampaignMetricsReported,)),
    WorkQueue("webhooks.unrecognised", (WebhookUnrecognised,)),
)
WORK_QUEUE_NAMES: tuple[str, ...] = tuple(queue.name for queue in WORK_QUEUES)
# Those whose effects are in Postgres alone. The others bring campaigns to their platforms.
DATABASE_QUEUES: tuple[str, ...] = tuple(q.name for q in WORK_QUEUES if q.platform is None)
REQUEST_QUEUES: tuple[RequestQueue, ...] = (RequestQueue("auth.session", AUTH_REQUESTS),)
# Facts without a worker by design: bound to the history, so that they are not "unrouted".
HISTORY_ONLY_EVENTS: tuple[type[Event], ...] = (
    UserRegistered,
    UserPasswordChanged,
    UserRoleChanged,
    SessionStarted,
    SessionRevoked,
    AuditRecorded,
    CampaignCommandRejected,
    CampaignStatusChanged,
    CampaignMetricsRecorded,
)
