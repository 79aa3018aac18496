"""OpenTelemetry's four messaging metrics as Prometheus spells them, made of our own figures.

Names, attributes and buckets: semantic conventions for messaging client metrics
(https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/); the spelling: OTLP to
Prometheus (https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/).
Nothing is counted twice while messages flow; an absent ``error.type`` is an empty label.

    messaging_destination_name    the exchange of a publish, the queue of what is consumed
    error_type                    the class of a failed publish; Outage for a batch
"""

from prometheus_client import REGISTRY
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.metrics.buckets import CONVENTION
from infra.metrics.consumers import BATCH_SECONDS, BATCH_SIZE, FAILED_BATCH_SECONDS
from infra.metrics.publishing import CONFIRMED, PUBLISHED

SYSTEM = "rabbitmq"
COMMON = ("messaging_system", "messaging_operation_name", "messaging_destination_name")
OPERATION_TYPE = "messaging_operation_type"
ERROR = "error_type"
OUTAGE = "Outage"


class MessagingConventions(Collector):
    """Exports the four families."""

    def __init__(self) -> None:
        """Register them."""
        REGISTRY.register(self)

    def describe(self) -> list[Metric]:
        """Name the families, for the registry."""
        return [_operations(), _sent(), _consumed(), _processed()]

    def collect(self) -> list[Metric]:
        """Export what publishers and consumers have counted."""
        operations, sent, consumed, processed = _operations(), _sent(), _consumed(), _processed()
        for (exchange, outcome), bins in PUBLISHED.bins().items():
            labels = (SYSTEM, "publish", exchange, "send", _error(outcome))
            operations.add_metric(labels, bins.buckets(CONVENTION), bins.total)
        for (exchange, outcome), count in PUBLISHED.counts().items():
            sent.add_metric((SYSTEM, "publish", exchange, _error(outcome)), count)
        for (queue,), bins in BATCH_SIZE.bins().items():
            consumed.add_metric((SYSTEM, "consume", queue, ""), bins.total)
        for error, batches in (("", BATCH_SECONDS), (OUTAGE, FAILED_BATCH_SECONDS)):
            for (queue,), bins in batches.bins().items():
                labels = (SYSTEM, "process", queue, "process", error)
                processed.add_metric(labels, bins.buckets(CONVENTION), bins.total)
        return [operations, sent, consumed, processed]


def _error(outcome: str) -> str:
    return "" if outcome == CONFIRMED else outcome


def _operations() -> HistogramMetricFamily:
    return HistogramMetricFamily(
        "messaging_client_operation_duration_seconds",
        "Duration of messaging operation initiated by a producer or consumer client.",
        labels=[*COMMON, OPERATION_TYPE, ERROR],
    )


def _sent() -> CounterMetricFamily:
    return CounterMetricFamily(
        "messaging_client_sent_messages",
        "Number of messages producer attempted to send to the broker.",
        labels=[*COMMON, ERROR],
    )


def _consumed() -> CounterMetricFamily:
    return CounterMetricFamily(
        "messaging_client_consumed_messages",
        "Number of messages that were delivered to the application.",
        labels=[*COMMON, ERROR],
    )


def _processed() -> HistogramMetricFamily:
    return HistogramMetricFamily(
        "messaging_process_duration_seconds",
        "Duration of processing operation.",
        labels=[*COMMON, OPERATION_TYPE, ERROR],
    )


CONVENTIONS = MessagingConventions()
