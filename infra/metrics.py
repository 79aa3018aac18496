"""Every metric, with its labels from closed sets.

Labels come from queues, outcomes and platforms, never from a message, a user or an exception's
text. Children are bound once, here or when a component starts.
"""

from prometheus_client import Counter, Gauge, Histogram

LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
AGE = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)

# --- the life of a message ----------------------------------------------------------------

OUTCOMES = ("handled", "duplicate", "retried", "snoozed", "dead", "dropped")

EVENTS_TOTAL = Counter(
    "adrelay_events_total", "Deliveries by what became of them", ["queue", "outcome"]
)
BATCH_SECONDS = Histogram(
    "adrelay_batch_seconds", "From a batch's start to its commit", ["queue"], buckets=LATENCY
)
BATCH_SIZE = Histogram("adrelay_batch_size", "Events in a batch", ["queue"], buckets=SIZES)
EVENT_AGE_SECONDS = Histogram(
    "adrelay_event_age_seconds",
    "Age of the oldest event of a batch at its commit",
    ["queue"],
    buckets=AGE,
)
CONSUMER_ALIVE = Gauge("adrelay_consumer_alive", "1 while the queue is being read", ["queue"])
CONSUMER_PAUSED = Gauge("adrelay_consumer_paused", "1 while waiting for infrastructure", ["queue"])
CONSUMER_ISOLATING = Gauge(
    "adrelay_consumer_isolating", "1 while taking one message at a time", ["queue"]
)
CONSUMER_STOPPED = Gauge(
    "adrelay_consumer_stopped", "1 while the queue circuit breaker has stopped it", ["queue"]
)
PAUSED = Gauge(
    "adrelay_paused",
    "1 while a person has paused a queue (also by its platform) or a platform; paused accounts",
    ["kind", "name"],
)
PAUSES_TOTAL = Counter("adrelay_pauses_total", "Pauses for an outage", ["queue"])


class Meters:
    """The metrics of one queue's consumer, with their labels bound once."""

    def __init__(self, queue: str) -> None:
        """Bind everything to the queue's name."""
        self.outcomes = {outcome: EVENTS_TOTAL.labels(queue, outcome) for outcome in OUTCOMES}
        self.seconds = BATCH_SECONDS.labels(queue)
        self.size = BATCH_SIZE.labels(queue)
        self.age = EVENT_AGE_SECONDS.labels(queue)
        self.alive = CONSUMER_ALIVE.labels(queue)
        self.paused = CONSUMER_PAUSED.labels(queue)
        self.isolating = CONSUMER_ISOLATING.labels(queue)
        self.pauses = PAUSES_TOTAL.labels(queue)


# --- publishing, outbox, dead letters -------------------------------------------------------

_PUBLISHED = Counter("adrelay_published_total", "Publishes by outcome", ["outcome"])
PUBLISHED = {
    outcome: _PUBLISHED.labels(outcome)
    for outcome in ("confirmed", "PublishUnknown", "BrokerRefused", "Unroutable", "Unwritable")
}
OUTBOX_RELAYED = Counter("adrelay_outbox_relayed_total", "Outbox rows published and deleted")
OUTBOX_ROWS = Gauge("adrelay_outbox_rows", "Outbox rows that wait to be published")
OUTBOX_PARKED = Gauge("adrelay_outbox_parked", "Outbox rows that can never be published")
OUTBOX_OLDEST_SECONDS = Gauge("adrelay_outbox_oldest_seconds", "Age of the oldest waiting row")
DEAD_LETTERS = Gauge("adrelay_dead_letters", "Open dead letters", ["queue"])
PATH_BROKEN = Gauge(
    "adrelay_path_broken", "1 while the broker lacks a part of the path to a queue", ["path"]
)
PATHS_TO_RECOVER = Gauge(
    "adrelay_paths_to_recover", "Paths that were broken and whose log was not sent again yet"
)
ROUTING_CHECKED = Gauge(
    "adrelay_routing_checked_timestamp_seconds", "When the paths were looked at, since 1970"
)
ROUTING_WHOLE = Gauge(
    "adrelay_routing_whole_timestamp_seconds", "When every path was last found whole, since 1970"
)
LOG_UNSETTLED_SECONDS = Gauge(
    "adrelay_log_oldest_unsettled_seconds",
    "Age of the oldest event of the log without effect or dead letter",
)
LOG_START = Gauge(
    "adrelay_log_start_timestamp_seconds",
    "When what the event log begins with was published, since 1970; 0 while nothing was dropped",
)
BACKUP_MAX_AGE = Gauge(
    "adrelay_backup_max_age_seconds", "How old the newest backup may get; 0 where none is named"
)
UNROUTED_MESSAGES = Gauge("adrelay_unrouted_messages", "Messages that no queue wanted")
QUEUE_MESSAGES = Gauge("adrelay_queue_messages", "Messages ready in a queue", ["queue"])
QUEUE_CONSUMERS = Gauge("adrelay_queue_consumers", "Consumers of a queue", ["queue"])

# --- the ingress ----------------------------------------------------------------------------

HTTP_REQUESTS = Counter(
    "adrelay_http_requests_total",
    "Answers by method, route template and status",
    ["method", "route", "status"],
)
HTTP_SECONDS = Histogram(
    "adrelay_http_request_seconds",
    "From a request's headers to its answer",
    ["method", "route"],
    buckets=LATENCY,
)
HTTP_IN_FLIGHT = Gauge("adrelay_http_requests_in_flight", "Requests under way")
_ACCEPTED = Counter(
    "adrelay_accepted_total", "Messages taken from outside, by what made them durable", ["how"]
)
ACCEPTED = {how: _ACCEPTED.labels(how) for how in ("confirmed", "outbox", "unavailable")}
WEBHOOKS = Counter(
    "adrelay_webhooks_total", "Webhooks by source and outcome", ["source", "outcome"]
)
WEBHOOK_OUTCOMES = (
    "accepted",
    "unrecognised",
    "bad_signature",
    "refused",
    "limited",
    "unavailable",
)
_INGESTED = Counter(
    "adrelay_ingested_total", "Items of POST /api/v1/events by verdict", ["verdict"]
)
INGESTED = {
    verdict: _INGESTED.labels(verdict)
    for verdict in ("accepted", "duplicate", "refused", "limited", "unavailable")
}
_CACHE = Counter("adrelay_cache_total", "Uses of the campaign cache by outcome", ["outcome"])
CACHE = {
    outcome: _CACHE.labels(outcome) for outcome in ("hit", "miss", "unavailable", "put_failed")
}
RATE_LIMITS = Counter(
    "adrelay_rate_limits_total",
    "What rate limits said; the budgets of webhooks and events tell refusals alone",
    ["policy", "outcome"],
)
RATE_LIMITS_LOCAL = Gauge(
    "adrelay_rate_limits_local", "1 while Redis is gone and each process counts for itself"
)

# Of a key that is not valid nobody says why: unknown, revoked and expired are one outcome.
_KEY_USES = Counter("adrelay_api_key_uses_total", "API keys shown, by outcome", ["outcome"])
KEY_USES = {
    outcome: _KEY_USES.labels(outcome)
    for outcome in ("valid", "stale", "invalid", "out_of_scope", "unavailable")
}

# --- accounts and sessions ------------------------------------------------------------------

AUTH_REQUESTS = Counter(
    "adrelay_auth_requests_total",
    "What the auth worker was asked for, by outcome: ok or the code of the refusal",
    ["action", "outcome"],
)
PASSWORD_WAIT_SECONDS = Histogram(
    "adrelay_password_wait_seconds", "Waiting for a core to hash a password on", buckets=LATENCY
)

TOKEN_SECONDS = Histogram(
    "adrelay_token_verification_seconds",
    "Verifying an access token that was not seen before",
    buckets=(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05),
)

# --- ad platforms ---------------------------------------------------------------------------

PLATFORM_CALLS = Counter(
    "adrelay_platform_calls_total", "Calls to ad platforms by outcome", ["platform", "outcome"]
)
PLATFORM_OUTCOMES = ("done", "refused", "gone", "snoozed", "failed")
PLATFORM_SECONDS = Histogram(
    "adrelay_platform_call_seconds", "Duration of a call", ["platform"], buckets=LATENCY
)
ACCOUNT_RENEWALS = Counter(
    "adrelay_account_renewals_total",
    "Connected accounts taken in hand, by outcome: renewed, lapsed, revoked, overtaken, failed",
    ["platform", "outcome"],
)
BREAKER_STATE = Gauge("adrelay_breaker_state", "0 closed, 1 half-open, 2 open", ["platform"])

# --- the process ----------------------------------------------------------------------------

LOOP_LAG_SECONDS = Histogram(
    "adrelay_loop_lag_seconds", "How late the event loop woke a sleeper", buckets=LATENCY
)
