"""Metrics of calls to ad platforms and of the accounts that owners have connected."""

from prometheus_client import Counter, Gauge, Histogram

from infra.metrics.buckets import LATENCY
from schemas.types import PLATFORMS

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
RENEWAL_OUTCOMES = ("renewed", "lapsed", "revoked", "overtaken", "failed")
for _platform in PLATFORMS:
    for _outcome in RENEWAL_OUTCOMES:
        ACCOUNT_RENEWALS.labels(_platform, _outcome)
BREAKER_STATE = Gauge("adrelay_breaker_state", "0 closed, 1 half-open, 2 open", ["platform"])
