"""The overview: SLOs, firing alerts, where everything is, processes and servers."""

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from infra.dashboards.layout import Rows, build_dashboard
from infra.dashboards.panels import graph, listing, number, quantiles
from infra.dashboards.system import PROCESSES, SERVERS

ACCEPTANCE, EFFECT = "slo:adrelay_acceptance_errors", "slo:adrelay_effect_errors"

GLANCE = (
    number(
        "Acceptance, 3 days",
        "Share of writing requests without an answer of 5xx; the SLO is 99.9%.",
        units.PercentUnit,
        (f"1 - {ACCEPTANCE}:ratio_rate3d", "accepted"),
        good_from=0.999,
    ),
    number(
        "Time to effect, 3 days",
        "Share of events that took effect within 5 s of their acceptance; the SLO is 99%.",
        units.PercentUnit,
        (f"1 - {EFFECT}:ratio_rate3d", "within 5 s"),
        good_from=0.99,
    ),
    number(
        "Open dead letters",
        "Events that could not be handled and wait for a person.",
        units.Short,
        ("sum(max by (queue) (adrelay_dead_letters_open))", "dead letters"),
    ),
    number(
        "Parked outbox rows",
        "Outbox rows that the broker has rejected for good.",
        units.Short,
        ("max(adrelay_outbox_parked)", "parked"),
    ),
    number(
        "Unrouted messages",
        "Messages that were bound for no queue.",
        units.Short,
        ("max(adrelay_unrouted_messages)", "unrouted"),
    ),
    number(
        "Broken paths",
        "Paths to a queue of which the broker lacks a part.",
        units.Short,
        ("sum(max by (path) (adrelay_path_broken))", "broken"),
    ),
)

SLOS = (
    graph(
        "Burn rate of acceptance",
        "Errors as a multiple of the rate that the SLO allows; 14.4 for an hour is a page.",
        units.Short,
        (f"{ACCEPTANCE}:ratio_rate5m / 0.001", "5 minutes"),
        (f"{ACCEPTANCE}:ratio_rate1h / 0.001", "1 hour"),
        (f"{ACCEPTANCE}:ratio_rate6h / 0.001", "6 hours"),
    ),
    graph(
        "Burn rate of time to effect",
        "Late events as a multiple of the rate that the SLO allows; 14.4 for an hour is a page.",
        units.Short,
        (f"{EFFECT}:ratio_rate5m / 0.01", "5 minutes"),
        (f"{EFFECT}:ratio_rate1h / 0.01", "1 hour"),
        (f"{EFFECT}:ratio_rate6h / 0.01", "6 hours"),
    ),
    listing(
        "Firing alerts",
        "Each alert has a page in docs/runbooks. Empty is good.",
        units.Short,
        ('ALERTS{alertname=~"Adrelay.*", alertstate="firing"}', ""),
        hidden=("Value", "alertstate"),
    ),
)

FLOW = (
    graph(
        "Accepted",
        "Messages accepted from outside, by what made them durable.",
        units.OpsPerSecond,
        ("sum by (how) (rate(adrelay_accepted_total[$__rate_interval]))", "{{how}}"),
    ),
    graph(
        "Deliveries",
        "Deliveries of each queue per second.",
        units.OpsPerSecond,
        ("queue:adrelay_events:rate5m", "{{queue}}"),
    ),
    graph(
        "Messages in queues",
        "Messages ready in each queue.",
        units.Short,
        ('max by (queue) (adrelay_queue_messages{queue!~"adrelay[.].*"})', "{{queue}}"),
    ),
    graph(
        "Published",
        "Publishes by outcome.",
        units.OpsPerSecond,
        ("sum by (outcome) (rate(adrelay_published_total[$__rate_interval]))", "{{outcome}}"),
    ),
    graph(
        "Time of a confirm",
        "From a flush of publishes to the broker's confirms.",
        units.Seconds,
        *quantiles("adrelay_publish_confirm_seconds", "job"),
    ),
    graph(
        "Outbox",
        "Rows that wait to be published, and rows published per second.",
        units.Short,
        ("max(adrelay_outbox_rows)", "waiting"),
        ("sum(rate(adrelay_outbox_relayed_total[$__rate_interval]))", "published per second"),
    ),
    graph(
        "Oldest unsettled event",
        "Age of the oldest event that is not handled; a restore from the event log begins there.",
        units.Seconds,
        ("max(adrelay_log_oldest_unsettled_seconds)", "oldest"),
    ),
    graph(
        "Oldest outbox row",
        "Its age; the outbox is emptied at once while the broker answers.",
        units.Seconds,
        ("max(adrelay_outbox_oldest_seconds)", "oldest"),
    ),
)

ROWS: Rows = {
    "At a glance": GLANCE,
    "Service levels": SLOS,
    "Where everything is": FLOW,
    "Processes": PROCESSES,
    "Servers": SERVERS,
}


def build() -> Dashboard:
    """Build the overview."""
    return build_dashboard("overview", "Overview", "Where everything is that was accepted.", ROWS)
