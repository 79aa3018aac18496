"""Metrics of publishing, the outbox, and the broker's queues and paths."""

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.metrics.batch_histogram import BatchHistogram, Bins
from infra.metrics.buckets import OPERATION

CONFIRMED = "confirmed"
PUBLISH_OUTCOMES = (CONFIRMED, "PublishUnknown", "BrokerRefused", "Unroutable", "Unwritable")
OTHER_EXCHANGE = "other"  # one that is none of the topology's
DEFAULT_EXCHANGE = "amq.default"  # as OpenTelemetry's convention for RabbitMQ names it


class PublishMetrics(Collector):
    """Counts publishes by exchange and outcome, and times groups of publishes until the answer.

    A group is what left in one write. The same figures are OpenTelemetry's
    (``infra.metrics.conventions``).
    """

    def __init__(self) -> None:
        """Register the two families."""
        self._counts: Tally[tuple[str, str]] = Tally()
        self._exchanges: frozenset[str] = frozenset()
        self._seconds = BatchHistogram("", "", ["exchange", "outcome"], OPERATION, None)
        REGISTRY.register(self)

    def begin(self, exchanges: Iterable[str]) -> None:
        """Take the exchanges of the topology as the closed set; all begin at 0."""
        self._exchanges = frozenset(exchange or DEFAULT_EXCHANGE for exchange in exchanges)
        for exchange in (*self._exchanges, OTHER_EXCHANGE):
            self._seconds.labels(exchange, CONFIRMED)
            for outcome in PUBLISH_OUTCOMES:
                self._counts.setdefault((exchange, outcome), 0)

    def count(self, exchange: str, outcome: str) -> None:
        """Count a publish whose outcome is known: ``confirmed``, or the class of the failure."""
        self._counts[self._known(exchange), outcome] += 1

    def observe(self, exchange: str, outcome: str, seconds: float) -> None:
        """Count the seconds until a group of publishes had its answer."""
        self._seconds.labels(self._known(exchange), outcome).observe(seconds)

    def counts(self) -> dict[tuple[str, str], int]:
        """Give the publishes by exchange and outcome."""
        return dict(self._counts)

    def bins(self) -> dict[tuple[str, ...], Bins]:
        """Give the seconds by exchange and outcome."""
        return dict(self._seconds.bins())

    def describe(self) -> list[Metric]:
        """Name the families, for the registry."""
        return [_published(), _confirms()]

    def collect(self) -> list[Metric]:
        """Export the sums over all exchanges."""
        published, confirms = _published(), _confirms()
        totals: Tally[str] = Tally(dict.fromkeys(PUBLISH_OUTCOMES, 0))
        for (_, outcome), count in self.counts().items():
            totals[outcome] += count
        for outcome, count in totals.items():
            published.add_metric([outcome], count)
        merged = Bins(OPERATION)
        for (_, outcome), bins in self.bins().items():
            if outcome == CONFIRMED:
                merged.merge(bins)
        confirms.add_metric([], merged.buckets(), merged.total)
        return [published, confirms]

    def _known(self, exchange: str) -> str:
        name = exchange or DEFAULT_EXCHANGE
        return name if name in self._exchanges else OTHER_EXCHANGE


def _published() -> CounterMetricFamily:
    return CounterMetricFamily("adrelay_published", "Publishes by outcome", labels=["outcome"])


def _confirms() -> HistogramMetricFamily:
    return HistogramMetricFamily(
        "adrelay_publish_confirm_seconds",
        "Seconds until the broker confirmed what left in one write",
        labels=[],
    )


PUBLISHED = PublishMetrics()
OUTBOX_RELAYED = Counter("adrelay_outbox_relayed_total", "Outbox rows published and deleted")
OUTBOX_ROWS = Gauge("adrelay_outbox_rows", "Outbox rows that wait to be published")
OUTBOX_PARKED = Gauge("adrelay_outbox_parked", "Outbox rows that can never be published")
OUTBOX_OLDEST_SECONDS = Gauge("adrelay_outbox_oldest_seconds", "Age of the oldest waiting row")
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
EVENTS_INDEXED = Counter("adrelay_events_indexed_total", "Events written to the event index")
EVENT_INDEX_LAG_SECONDS = Gauge(
    "adrelay_event_index_lag_seconds", "How far the event index is behind the event log"
)
UNROUTED_MESSAGES = Gauge("adrelay_unrouted_messages", "Messages that no queue wanted")
QUEUE_MESSAGES = Gauge("adrelay_queue_messages", "Messages ready in a queue", ["queue"])
QUEUE_CONSUMERS = Gauge("adrelay_queue_consumers", "Consumers of a queue", ["queue"])
