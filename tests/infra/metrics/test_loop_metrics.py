"""Counters and gauges of the event loop are exported as those of prometheus-client are."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from infra.metrics.loop_metrics import LoopCounter, LoopGauge

TEXT = "Requests by route"


def test_numbers_read_as_those_of_the_client_library() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counter = LoopCounter("requests_total", TEXT, ["route", "status"], ours)
    expected = Counter("requests_total", TEXT, ["route", "status"], registry=theirs)
    for labels, amount in ((("/a", 200), 2), (("/a", 503), 1), (('/"b"\n\\', 200), 0)):
        counter.labels(*labels).inc(amount)
        expected.labels(*labels).inc(amount)
    gauge = LoopGauge("in_flight", "Under way", registry=ours).labels()
    other = Gauge("in_flight", "Under way", registry=theirs)
    for one in (gauge, other):
        one.set(5)
        one.dec()
    lines = [line for line in generate_latest(theirs).splitlines() if b"_created" not in line]
    assert generate_latest(ours).splitlines() == lines


def test_a_family_without_labels_begins_at_0() -> None:
    registry = CollectorRegistry()
    LoopCounter("events_total", TEXT, registry=registry)
    assert registry.get_sample_value("events_total") == 0


def test_the_same_labels_give_the_same_number_and_others_are_refused() -> None:
    counter = LoopCounter("events_total", TEXT, ["queue"], CollectorRegistry())
    assert counter.labels("a") is counter.labels("a")
    with pytest.raises(ValueError, match="has the labels queue"):
        counter.labels()
