"""The ad platforms: calls, circuit breakers, what waits for them, tokens of accounts."""

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from infra.dashboards.layout import Rows, build_dashboard
from infra.dashboards.panels import graph, quantiles

PLATFORM = '{platform=~"$platform"}'

CALLS = (
    graph(
        "Calls by outcome",
        "Calls to the platform per second.",
        units.OpsPerSecond,
        (
            (
                f"sum by (platform, outcome)"
                f" (rate(adrelay_platform_calls_total{PLATFORM}[$__rate_interval]))"
            ),
            "{{platform}} {{outcome}}",
        ),
    ),
    graph(
        "Share of failed calls",
        "Calls that failed or were refused for their rate, in five minutes.",
        units.PercentUnit,
        (f"platform:adrelay_platform_failures:ratio_rate5m{PLATFORM}", "{{platform}}"),
    ),
    graph(
        "Time of a call",
        "From a call to its answer.",
        units.Seconds,
        *quantiles("adrelay_platform_call_seconds", "platform", PLATFORM),
    ),
    graph(
        "Circuit breaker",
        "0 closed, 1 half-open, 2 open: no calls but probes.",
        units.Short,
        (f"max by (platform) (adrelay_breaker_state{PLATFORM})", "{{platform}}"),
    ),
    graph(
        "Waiting for the platform",
        "Messages in its queue.",
        units.Short,
        ('max by (queue) (adrelay_queue_messages{queue=~"sync[.]($platform)"})', "{{queue}}"),
    ),
    graph(
        "Snoozed",
        "Events that wait for the platform without losing an attempt.",
        units.OpsPerSecond,
        (
            (
                'sum by (queue) (rate(adrelay_events_total{queue=~"sync[.]($platform)",'
                ' outcome="snoozed"}[$__rate_interval]))'
            ),
            "{{queue}}",
        ),
    ),
)

ACCOUNTS = (
    graph(
        "Token renewals",
        "Renewals of connected accounts by outcome.",
        units.OpsPerSecond,
        (
            (
                "sum by (platform, outcome)"
                f" (rate(adrelay_account_renewals_total{PLATFORM}[$__rate_interval]))"
            ),
            "{{platform}} {{outcome}}",
        ),
    ),
    graph(
        "Next expiry of a token",
        "When the first token of a connected account expires, in seconds since 1970; 0: none.",
        units.Short,
        (
            (
                "min by (name) (adrelay_expiry_timestamp_seconds"
                '{kind="platform_account", name=~"$platform"})'
            ),
            "{{name}}",
        ),
    ),
    graph(
        "Paused",
        "1 while a person has paused the platform.",
        units.Short,
        ('max by (name) (adrelay_paused{kind="platform", name=~"$platform"})', "{{name}}"),
    ),
)

ROWS: Rows = {"Calls": CALLS, "Accounts": ACCOUNTS}


def build() -> Dashboard:
    """Build the dashboard of the platforms."""
    return build_dashboard(
        "platforms", "Platforms", "What the platforms answer.", ROWS, ["platform"]
    )
