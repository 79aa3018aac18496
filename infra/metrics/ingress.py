"""Metrics of the ingress: requests, what it accepted, webhooks, limits, keys, accounts."""

from prometheus_client import Counter, Gauge, Histogram

from infra.metrics.batch_histogram import BatchHistogram
from infra.metrics.buckets import LATENCY, SKEW, TOKEN
from infra.metrics.loop_metrics import LoopCounter, LoopGauge

HTTP_REQUESTS = LoopCounter(
    "adrelay_http_requests_total",
    "Answers by method, route template and status",
    ["method", "route", "status"],
)
HTTP_SECONDS = BatchHistogram(
    "adrelay_http_request_seconds",
    "Seconds from a request's headers to its answer",
    ["method", "route"],
    LATENCY,
)
HTTP_IN_FLIGHT = LoopGauge("adrelay_http_requests_in_flight", "Requests under way").labels()
_ACCEPTED = LoopCounter(
    "adrelay_accepted_total", "Messages taken from outside, by what made them durable", ["how"]
)
ACCEPTED = {how: _ACCEPTED.labels(how) for how in ("confirmed", "outbox", "unavailable")}
WEBHOOKS = LoopCounter(
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
WEBHOOK_SECRET_SLOTS = LoopCounter(
    "adrelay_webhook_secret_slot_total",
    "Webhooks by the configured secret that verified them; slot 1 is the newest",
    ["source", "slot"],
)
WEBHOOK_BAD_SIGNATURES = LoopCounter(
    "adrelay_webhook_bad_signatures_total",
    "Webhooks without a valid signature by the check that failed: headers, signature, timestamp",
    ["source", "check"],
)
WEBHOOK_SKEW_SECONDS = BatchHistogram(
    "adrelay_webhook_skew_seconds",
    "Seconds between the signed time of a webhook and our clock, either way",
    ["source"],
    SKEW,
)
WEBHOOK_LAST_ACCEPTED = LoopGauge(
    "adrelay_webhook_last_accepted_timestamp_seconds",
    "When a webhook was last accepted, since 1970; 0 until the first",
    ["source"],
)
_INGESTED = LoopCounter(
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
_KEY_USES = LoopCounter("adrelay_api_key_uses_total", "API keys shown, by outcome", ["outcome"])
KEY_USES = {
    outcome: _KEY_USES.labels(outcome)
    for outcome in ("valid", "stale", "invalid", "out_of_scope", "unavailable")
}

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
    buckets=TOKEN,
)
