"""The own histogram counts as prometheus-client's does, and much faster."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from infra.metrics.batch_histogram import BatchHistogram, Bins
from infra.metrics.buckets import EVENT_LATENCY

BOUNDS = (0.001, 1.0, 5.0, 60.0)
TRACE = "0af7651916cd43dd8448eb211c80319c"
VALUES = st.one_of(
    st.sampled_from(BOUNDS),
    st.sampled_from([math.nextafter(b, way) for b in BOUNDS for way in (0.0, math.inf)]),
    st.floats(0, 1e6),
)


def counts(bins: Bins) -> dict[str, float]:
    return {bucket[0]: bucket[1] for bucket in bins.buckets()}


@pytest.mark.parametrize(
    ("value", "bucket"),
    [
        (0.0, "0.001"),
        (0.001, "0.001"),
        (math.nextafter(0.001, 1), "1.0"),
        (1.0, "1.0"),
        (math.nextafter(1.0, 0), "1.0"),
        (math.nextafter(1.0, 2), "5.0"),
        (60.0, "60.0"),
        (math.nextafter(60.0, 61), "+Inf"),
        (1e9, "+Inf"),
    ],
)
def test_a_value_is_in_the_first_bucket_that_is_not_below_it(value: float, bucket: str) -> None:
    bins = Bins(BOUNDS)

    bins.observe_all([value])

    names = ["0.001", "1.0", "5.0", "60.0", "+Inf"]
    first = names.index(bucket)
    assert counts(bins) == {name: float(place >= first) for place, name in enumerate(names)}
    assert bins.total == value


@given(st.lists(VALUES, max_size=50), st.lists(VALUES, max_size=5))
def test_it_is_exported_byte_for_byte_as_by_prometheus_client(
    batch: list[float], single: list[float]
) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    own = BatchHistogram("x_seconds", "X", ["queue"], BOUNDS, ours).labels("q")
    other = Histogram("x_seconds", "X", ["queue"], buckets=BOUNDS, registry=theirs).labels("q")

    own.observe_all(batch)
    for value in single:
        own.observe(value)
    for value in [*batch, *single]:
        other.observe(value)

    def lines(registry: CollectorRegistry) -> list[str]:
        found = generate_latest(registry).decode().splitlines()
        return [line for line in found if "_created" not in line and "_sum" not in line]

    assert lines(ours) == lines(theirs)
    assert own.total == pytest.approx(sum(batch) + sum(single))


def test_label_values_begin_at_0_and_are_bound_once() -> None:
    registry = CollectorRegistry()
    histogram = BatchHistogram("x_seconds", "X", ["queue"], BOUNDS, registry)

    bins = histogram.labels("q")

    assert histogram.labels("q") is bins
    assert registry.get_sample_value("x_seconds_count", {"queue": "q"}) == 0
    assert registry.get_sample_value("x_seconds_bucket", {"queue": "q", "le": "+Inf"}) == 0
    with pytest.raises(ValueError, match="queue"):
        histogram.labels("q", "another")


def test_the_latest_traced_value_of_a_bucket_is_its_exemplar() -> None:
    bins = Bins(BOUNDS)
    bins.observe_all([0.5, 0.7, 3.0])
    bins.mark(0.5, "1" * 32)
    bins.mark(0.7, TRACE)

    exemplars = {b[0]: b[2] for b in bins.buckets() if len(b) == 3}

    assert {bound: (e.value, e.labels) for bound, e in exemplars.items()} == {
        "1.0": (0.7, {"trace_id": TRACE})
    }


def test_fewer_buckets_hold_the_same_values() -> None:
    bins = Bins(BOUNDS)
    bins.observe_all([0.0001, 0.5, 3.0, 100.0])

    assert bins.buckets((1.0, 60.0)) == [("1.0", 2), ("60.0", 3), ("+Inf", 4)]


def test_the_buckets_of_events_fit_the_objectives() -> None:
    assert {1, 5, 60} <= set(EVENT_LATENCY)
    assert list(EVENT_LATENCY) == sorted(EVENT_LATENCY)


def test_counting_a_value_costs_less_than_a_microsecond() -> None:
    bins = Bins(EVENT_LATENCY)
    values = [n * 0.013 % 90 for n in range(1000)]

    def spend() -> float:
        began = time.process_time()
        bins.observe_all(values)
        return time.process_time() - began

    assert min(spend() for _ in range(50)) / len(values) < 1e-6
