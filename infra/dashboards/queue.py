"""One queue, or several: what waits, what becomes of it, and how long that takes."""

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from infra.dashboards.layout import Rows, build_dashboard
from infra.dashboards.panels import graph, quantiles

QUEUE = '{queue=~"$queue"}'
DESTINATION = '{messaging_destination_name=~"$queue"}'

WAITING = (
    graph(
        "Messages",
        "Messages ready in the queue.",
        units.Short,
        (f"max by (queue) (adrelay_queue_messages{QUEUE})", "{{queue}}"),
    ),
    graph(
        "Time to drain",
        "Until the last of the waiting messages is taken, at the present pace.",
        units.Seconds,
        (f"queue:adrelay_drain:seconds{QUEUE}", "{{queue}}"),
    ),
    graph(
        "Messages in hand",
        "Delivered to a worker and not acknowledged yet.",
        units.Short,
        (f"sum by (queue) (rabbitmq_detailed_queue_messages_unacked{QUEUE})", "{{queue}}"),
    ),
    graph(
        "Time to effect",
        "From the acceptance of each event to its commit; the SLO is 5 s for 99%.",
        units.Seconds,
        *quantiles("adrelay_event_seconds", "queue", QUEUE),
    ),
    graph(
        "Age of events",
        "From the time that each event names to its commit.",
        units.Seconds,
        *quantiles("adrelay_event_age_seconds", "queue", QUEUE),
    ),
    graph(
        "Waiting for a retry",
        "Messages in the retry tiers, of all queues.",
        units.Short,
        ('max by (queue) (adrelay_queue_messages{queue=~"adrelay[.]retry[.].*"})', "{{queue}}"),
    ),
)

OUTCOMES = (
    graph(
        "Deliveries by outcome",
        "What became of each delivery.",
        units.OpsPerSecond,
        (
            f"queue_outcome:adrelay_events:rate5m{QUEUE}",
            "{{queue}} {{outcome}}",
        ),
    ),
    graph(
        "Share of failures",
        "Deliveries that were retried or became dead letters, in five minutes.",
        units.PercentUnit,
        (f"queue:adrelay_failures:ratio_rate5m{QUEUE}", "{{queue}}"),
    ),
    graph(
        "Retries by code",
        "Deliveries that will be tried again.",
        units.OpsPerSecond,
        (
            f"sum by (queue, code) (rate(adrelay_retries_total{QUEUE}[$__rate_interval]))",
            "{{queue}} {{code}}",
        ),
    ),
    graph(
        "Time of a batch",
        "From a batch's start to its commit.",
        units.Seconds,
        *quantiles("adrelay_batch_seconds", "queue", QUEUE),
    ),
    graph(
        "Events in a batch",
        "The size of batches.",
        units.Short,
        *quantiles("adrelay_batch_size", "queue", QUEUE),
    ),
    graph(
        "Time to process, OpenTelemetry",
        "messaging.process.duration of the messaging conventions.",
        units.Seconds,
        *quantiles("messaging_process_duration_seconds", "messaging_destination_name", DESTINATION),
    ),
)

CONSUMERS = (
    graph(
        "Consumers",
        "Connected consumers, as the broker counts them.",
        units.Short,
        (f"max by (queue) (adrelay_queue_consumers{QUEUE})", "{{queue}}"),
    ),
    graph(
        "State",
        "1 while the queue is read, waits for a server, or takes one message at a time.",
        units.Short,
        (f"max by (queue) (adrelay_consumer_alive{QUEUE})", "{{queue}} read"),
        (f"max by (queue) (adrelay_consumer_waiting{QUEUE})", "{{queue}} waiting for a server"),
        (f"max by (queue) (adrelay_consumer_isolating{QUEUE})", "{{queue}} isolating"),
    ),
    graph(
        "Stopped and paused",
        "1 while the circuit breaker has stopped the queue, or a person has paused it.",
        units.Short,
        (f"max by (queue) (adrelay_consumer_stopped{QUEUE})", "{{queue}} stopped"),
        (f"queue:adrelay_paused:max{QUEUE}", "{{queue}} paused"),
    ),
    graph(
        "Waits for a server",
        "How often the consumer began to wait for Postgres, Redis or the broker.",
        units.Short,
        (
            f"sum by (queue) (increase(adrelay_outage_waits_total{QUEUE}[$__rate_interval]))",
            "{{queue}}",
        ),
    ),
)

MESSAGING = (
    graph(
        "Consumed, OpenTelemetry",
        "messaging.client.consumed.messages of the messaging conventions.",
        units.OpsPerSecond,
        (
            (
                "sum by (messaging_destination_name)"
                f" (rate(messaging_client_consumed_messages_total{DESTINATION}[$__rate_interval]))"
            ),
            "{{messaging_destination_name}}",
        ),
    ),
    graph(
        "Sent, OpenTelemetry",
        "messaging.client.sent.messages of the messaging conventions, of all destinations.",
        units.OpsPerSecond,
        (
            (
                "sum by (messaging_destination_name)"
                " (rate(messaging_client_sent_messages_total[$__rate_interval]))"
            ),
            "{{messaging_destination_name}}",
        ),
    ),
    graph(
        "Time of an operation, OpenTelemetry",
        "messaging.client.operation.duration of the messaging conventions.",
        units.Seconds,
        *quantiles("messaging_client_operation_duration_seconds", "messaging_operation_name"),
    ),
)

ROWS: Rows = {
    "Waiting": WAITING,
    "Outcomes": OUTCOMES,
    "Consumers": CONSUMERS,
    "OpenTelemetry's messaging metrics": MESSAGING,
}


def build() -> Dashboard:
    """Build the dashboard of queues."""
    return build_dashboard("queue", "Queue", "The life of a queue's events.", ROWS, ["queue"])
