"""A histogram that counts many values at once, in well under a microsecond each.

prometheus-client observes one value at a time, with a lock and a walk over the buckets for each.
Only the event loop observes; a scrape reads from a thread, and may see the sum of a batch before
its counts. A value belongs to the first bucket whose upper bound is not below it (``le``), as in
Prometheus (https://prometheus.io/docs/concepts/metric_types/#histogram).
"""

import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

TRACE_ID = "trace_id"
INFINITY = "+Inf"

# The upper bound, the count of all values up to it, and a traced value among them.
Bucket = tuple[str, float] | tuple[str, float, Exemplar]


class Bins:
    """The counts of one set of label values."""

    __slots__ = ("_bounds", "_exemplars", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """Count nothing yet; ``bounds`` are upper bounds in ascending order."""
        self.total = 0.0
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self._exemplars: dict[int, Exemplar] = {}

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def observe_all(self, values: Sequence[float]) -> None:
        """Count every value of a batch."""
        bounds, counts = self._bounds, self.counts
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self.total += sum(values)

    def mark(self, value: float, trace_id: str) -> None:
        """Show a value that was counted, with its trace, as the exemplar of its bucket."""
        exemplar = Exemplar({TRACE_ID: trace_id}, value, time.time())
        self._exemplars[bisect_left(self._bounds, value)] = exemplar

    def merge(self, other: "Bins") -> None:
        """Add the counts of bins with the same bounds."""
        self.counts = [
            mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)
        ]
        self.total += other.total

    def buckets(self, shown: Iterable[float] | None = None) -> list[Bucket]:
        """List the cumulative buckets with these upper bounds (default: all), and +Inf."""
        counts = self.counts.copy()
        kept = None if shown is None else {*shown}
        found: list[Bucket] = []
        count = 0
        for place, bound in enumerate(self._bounds):
            count += counts[place]
            if kept is None or bound in kept:
                found.append(self._bucket(repr(float(bound)), count, place, kept))
        last = len(self._bounds)
        return [*found, self._bucket(INFINITY, count + counts[last], last, kept)]

    def _bucket(self, bound: str, count: int, place: int, kept: set[float] | None) -> Bucket:
        exemplar = self._exemplars.get(place) if kept is None else None
        return (bound, count) if exemplar is None else (bound, count, exemplar)


class BatchHistogram(Collector):
    """A family of ``Bins``; it is exported as an ordinary histogram."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        bounds: Sequence[float],
        registry: CollectorRegistry | None = REGISTRY,
    ) -> None:
        """Register it; without ``registry`` another collector exports the bins."""
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._bounds = tuple(bounds)
        self._bins: dict[tuple[str, ...], Bins] = {}
        if not labels:
            self.labels()
        if registry is not None:
            registry.register(self)

    def labels(self, *values: str) -> Bins:
        """Give the bins of these label values; new ones begin at 0."""
        if len(values) != len(self._labels):
            raise ValueError(f"{self._name} has the labels {', '.join(self._labels)}")
        return self._bins.setdefault(values, Bins(self._bounds))

    def bins(self) -> Mapping[tuple[str, ...], Bins]:
        """Give the bins by their label values, as they are now."""
        return self._bins.copy()

    def describe(self) -> list[Metric]:
        """Name the family, for the registry."""
        return [HistogramMetricFamily(self._name, self._documentation, labels=self._labels)]

    def collect(self) -> list[Metric]:
        """Export the bins."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, bins in self.bins().items():
            family.add_metric(values, bins.buckets(), bins.total)
        return [family]
