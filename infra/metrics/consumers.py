"""Metrics of consumers: batches, the way of every event, retries and dead letters by code."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.errors import CODES, UNEXPECTED, Failure
from infra.metrics.batch_histogram import BatchHistogram
from infra.metrics.buckets import EVENT_LATENCY, OPERATION, SIZES

OUTCOMES = ("handled", "duplicate", "retried", "snoozed", "skipped", "dead", "dropped")
OTHER = "OTHER"  # a code that is not in the closed set
BROKER = "BROKER"  # the broker dead-lettered the message itself

EVENTS_TOTAL = Counter(
    "adrelay_events_total", "Deliveries by what became of them", ["queue", "outcome"]
)
EVENT_SECONDS = BatchHistogram(
    "adrelay_event_seconds",
    "Seconds from an event's acceptance (by the ingress, else its first delivery) to its commit",
    ["queue"],
    EVENT_LATENCY,
)
EVENT_AGE_SECONDS = BatchHistogram(
    "adrelay_event_age_seconds",
    "Seconds from an event's own time to its commit, of events that have one",
    ["queue"],
    EVENT_LATENCY,
)
BATCH_SECONDS = BatchHistogram(
    "adrelay_batch_seconds", "Seconds from a batch's start to its commit", ["queue"], OPERATION
)
# Batches that an outage ended; OpenTelemetry's metric shows both.
FAILED_BATCH_SECONDS = BatchHistogram("", "", ["queue"], OPERATION, None)
BATCH_SIZE = BatchHistogram("adrelay_batch_size", "Events in a batch", ["queue"], SIZES)
RETRIES = Counter(
    "adrelay_retries_total",
    "Deliveries that wait in a retry tier, by the code of the failure (SNOOZE: at no cost)",
    ["queue", "code"],
)
DEAD_LETTERED = Counter(
    "adrelay_dead_letters_total",
    "Deliveries that were dead-lettered, by the code of the failure (BROKER: by the broker)",
    ["queue", "code"],
)
DEAD_LETTERS = Gauge("adrelay_dead_letters_open", "Open dead letters", ["queue"])
CONSUMER_ALIVE = Gauge("adrelay_consumer_alive", "1 while the queue is being read", ["queue"])
CONSUMER_WAITING = Gauge(
    "adrelay_consumer_waiting", "1 while waiting for infrastructure", ["queue"]
)
CONSUMER_ISOLATING = Gauge(
    "adrelay_consumer_isolating", "1 while taking one message at a time", ["queue"]
)
CONSUMER_STOPPED = Gauge(
    "adrelay_consumer_stopped", "1 while the queue circuit breaker has stopped it", ["queue"]
)
PAUSED = Gauge(
    "adrelay_paused",
    "1 while a person has paused a queue or a platform; how many accounts are paused",
    ["kind", "name"],
)
OUTAGE_WAITS_TOTAL = Counter("adrelay_outage_waits_total", "Waits for an outage to end", ["queue"])


class MessagesInHand(Collector):
    """Exports how many deliveries each queue's readers hold, counted at each scrape."""

    def __init__(self) -> None:
        """Register the family."""
        self._queues: set[str] = set()
        self._readers: WeakKeyDictionary[object, tuple[str, Callable[[], int]]]
        self._readers = WeakKeyDictionary()
        REGISTRY.register(self)

    def begin(self, queue: str) -> None:
        """Begin a queue at 0."""
        self._queues.add(queue)

    def watch(self, reader: object, queue: str, count: Callable[[], int]) -> None:
        """Count a reader's deliveries until it is gone; ``count`` must not hold it."""
        self._readers[reader] = (queue, count)

    def describe(self) -> list[Metric]:
        """Name the family, for the registry."""
        return [_in_hand()]

    def collect(self) -> list[Metric]:
        """Export the sum over the readers of each queue."""
        held = dict.fromkeys(sorted(self._queues), 0)
        for queue, count in list(self._readers.values()):
            held[queue] = held.get(queue, 0) + count()
        family = _in_hand()
        for queue, number in held.items():
            family.add_metric([queue], number)
        return [family]


def _in_hand() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "adrelay_messages_in_hand",
        "Deliveries that the process has taken and not settled yet",
        labels=["queue"],
    )


MESSAGES_IN_HAND = MessagesInHand()


class Meters:
    """The metrics of one queue's consumer, with their labels bound once."""

    def __init__(self, queue: str) -> None:
        """Bind everything to the queue's name."""
        self.outcomes = {outcome: EVENTS_TOTAL.labels(queue, outcome) for outcome in OUTCOMES}
        self.event_seconds = EVENT_SECONDS.labels(queue)
        self.event_age = EVENT_AGE_SECONDS.labels(queue)
        self.seconds = BATCH_SECONDS.labels(queue)
        self.failed_seconds = FAILED_BATCH_SECONDS.labels(queue)
        self.size = BATCH_SIZE.labels(queue)
        self.retries = _by_code(RETRIES, queue)
        self.dead_letters = _by_code(DEAD_LETTERED, queue)
        self.alive = CONSUMER_ALIVE.labels(queue)
        self.waiting = CONSUMER_WAITING.labels(queue)
        self.isolating = CONSUMER_ISOLATING.labels(queue)
        self.waits = OUTAGE_WAITS_TOTAL.labels(queue)
        MESSAGES_IN_HAND.begin(queue)

    @contextmanager
    def timing_batch(self) -> Iterator[None]:
        """Count the seconds of a batch, apart where it raises."""
        began, seconds = time.perf_counter(), self.failed_seconds
        try:
            yield
            seconds = self.seconds
        finally:
            seconds.observe(time.perf_counter() - began)


def code_of(error: BaseException) -> str:
    """Give the code of a failure as a label: one of ``CODES``, else ``OTHER``."""
    if not isinstance(error, Failure):
        return UNEXPECTED
    return error.code if error.code in CODES else OTHER


def _by_code(counter: Counter, queue: str) -> Mapping[str, Counter]:
    return {code: counter.labels(queue, code) for code in (*sorted(CODES), OTHER)}
