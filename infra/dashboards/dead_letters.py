"""Dead letters: how many, of which queues, for which reasons."""

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from infra.dashboards.layout import Rows, build_dashboard
from infra.dashboards.panels import graph

QUEUE = '{queue=~"$queue"}'

OPEN = (
    graph(
        "Open dead letters",
        "They wait for a person: adrelay dead-letters list.",
        units.Short,
        (f"max by (queue) (adrelay_dead_letters_open{QUEUE})", "{{queue}}"),
    ),
    graph(
        "New dead letters by code",
        "Events that were given up, by the code of their failure.",
        units.OpsPerSecond,
        (
            f"sum by (queue, code) (rate(adrelay_dead_letters_total{QUEUE}[$__rate_interval]))",
            "{{queue}} {{code}}",
        ),
    ),
    graph(
        "Not filed yet",
        "Messages in the dead-letter queues, which the relay files.",
        units.Short,
        ('max by (queue) (adrelay_queue_messages{queue=~".*[.]dead"})', "{{queue}}"),
    ),
)

BEFORE = (
    graph(
        "Retries by code",
        "Deliveries that will be tried again, and may become dead letters.",
        units.OpsPerSecond,
        (
            f"sum by (queue, code) (rate(adrelay_retries_total{QUEUE}[$__rate_interval]))",
            "{{queue}} {{code}}",
        ),
    ),
    graph(
        "Share of retries",
        "Deliveries that will be tried again, of all in 15 minutes; a fifth is a ticket.",
        units.PercentUnit,
        (f"queue:adrelay_retries:ratio_rate15m{QUEUE}", "{{queue}}"),
    ),
    graph(
        "Unrecognised webhooks",
        "Genuine webhooks that map to no event type, in 15 minutes.",
        units.Short,
        (
            'sum by (source) (increase(adrelay_webhooks_total{outcome="unrecognised"}[15m]))',
            "{{source}}",
        ),
    ),
)

ROWS: Rows = {"Dead letters": OPEN, "What may become one": BEFORE}


def build() -> Dashboard:
    """Build the dashboard of dead letters."""
    return build_dashboard(
        "dead-letters", "Dead letters", "Events that could not be handled.", ROWS, ["queue"]
    )
