"""Counters and gauges that cost an addition: those of every request and webhook.

prometheus-client takes a lock for each increment, several times what the rest of counting costs.
Only the event loop changes these; a scrape reads them from a thread.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class LoopValue:
    """The number of one set of label values."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        """Begin at 0."""
        self.number = 0.0

    def inc(self, amount: float = 1) -> None:
        """Add ``amount``."""
        self.number += amount

    def dec(self) -> None:
        """Take one away."""
        self.number -= 1

    def set(self, number: float) -> None:
        """Replace the number."""
        self.number = number


class LoopMetric(Collector):
    """A family of numbers by their labels."""

    FAMILY: ClassVar[type[CounterMetricFamily | GaugeMetricFamily]]

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        """Register it; a family without labels begins at 0."""
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._values: dict[tuple[str, ...], LoopValue] = {}
        if not labels:
            self.labels()
        registry.register(self)

    def labels(self, *values: object) -> LoopValue:
        """Give the number of these label values; new ones begin at 0."""
        if len(values) != len(self._labels):
            raise ValueError(f"{self._name} has the labels {', '.join(self._labels)}")
        return self._values.setdefault(tuple(map(str, values)), LoopValue())

    def numbers(self) -> Mapping[tuple[str, ...], float]:
        """Give the numbers by their label values, as they are now."""
        return {values: value.number for values, value in self._values.copy().items()}

    def describe(self) -> list[Metric]:
        """Name the family, for the registry."""
        return [self._family()]

    def collect(self) -> list[Metric]:
        """Export the numbers."""
        family = self._family()
        for values, number in self.numbers().items():
            family.add_metric(values, number)
        return [family]

    def _family(self) -> CounterMetricFamily | GaugeMetricFamily:
        return self.FAMILY(self._name, self._documentation, labels=self._labels)


class LoopCounter(LoopMetric):
    """Numbers that only grow."""

    FAMILY = CounterMetricFamily


class LoopGauge(LoopMetric):
    """Numbers that go up and down."""

    FAMILY = GaugeMetricFamily
