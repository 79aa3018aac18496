"""What Adrelay does for its users: campaigns, figures, accounts, upstream events."""

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from infra.dashboards.layout import Rows, build_dashboard
from infra.dashboards.panels import PromQuery, graph, number

DAY = "24h"


def _handled(queue: str, legend: str) -> PromQuery:
    """Count the events of a queue that took effect in a day."""
    matchers = f'{{queue=~"{queue}", outcome="handled"}}'
    return f"sum(increase(adrelay_events_total{matchers}[{DAY}]))", legend


TODAY = (
    number(
        "Changes of campaigns",
        "Commands that took effect in 24 hours.",
        units.Short,
        _handled("campaigns[.]apply", "commands"),
        good_from=0,
    ),
    number(
        "Reports of figures",
        "Reports of impressions, clicks and spend that took effect in 24 hours.",
        units.Short,
        _handled("metrics[.]record", "reports"),
        good_from=0,
    ),
    number(
        "Pushes to platforms",
        "Calls to platforms that were done in 24 hours.",
        units.Short,
        (f'sum(increase(adrelay_platform_calls_total{{outcome="done"}}[{DAY}]))', "calls"),
        good_from=0,
    ),
    number(
        "Registrations",
        "Accounts that were registered in 24 hours.",
        units.Short,
        _handled("auth[.]register", "accounts"),
        good_from=0,
    ),
    number(
        "Accepted webhooks",
        "Webhooks of all sources in 24 hours.",
        units.Short,
        (f'sum(increase(adrelay_webhooks_total{{outcome="accepted"}}[{DAY}]))', "webhooks"),
        good_from=0,
    ),
    number(
        "Upstream events",
        "Events accepted over HTTP from upstream systems in 24 hours.",
        units.Short,
        (f'sum(increase(adrelay_ingested_total{{verdict="accepted"}}[{DAY}]))', "events"),
        good_from=0,
    ),
)

OVER_TIME = (
    graph(
        "Changes of campaigns",
        "Commands that took effect.",
        units.OpsPerSecond,
        (
            (
                "sum(rate(adrelay_events_total"
                '{queue="campaigns.apply", outcome="handled"}[$__rate_interval]))'
            ),
            "commands",
        ),
    ),
    graph(
        "Reports of figures",
        "Reports that took effect.",
        units.OpsPerSecond,
        (
            (
                "sum(rate(adrelay_events_total"
                '{queue="metrics.record", outcome="handled"}[$__rate_interval]))'
            ),
            "reports",
        ),
    ),
    graph(
        "Pushes by platform",
        "Calls to platforms, by what the platform said.",
        units.OpsPerSecond,
        (
            "sum by (platform, outcome) (rate(adrelay_platform_calls_total[$__rate_interval]))",
            "{{platform}} {{outcome}}",
        ),
    ),
    graph(
        "Webhooks by source",
        "Accepted webhooks.",
        units.OpsPerSecond,
        (
            'sum by (source) (rate(adrelay_webhooks_total{outcome="accepted"}[$__rate_interval]))',
            "{{source}}",
        ),
    ),
    graph(
        "Operations",
        "Writes that were answered with 202, by their state (estimates).",
        units.Short,
        ("max by (state) (adrelay_operations_rows)", "{{state}}"),
    ),
    graph(
        "Open dead letters",
        "Events that did not take effect yet.",
        units.Short,
        ("max by (queue) (adrelay_dead_letters_open)", "{{queue}}"),
    ),
)

ROWS: Rows = {"In 24 hours": TODAY, "Over time": OVER_TIME}


def build() -> Dashboard:
    """Build the dashboard of what users see."""
    return build_dashboard("business", "Business", "What Adrelay does for its users.", ROWS)
