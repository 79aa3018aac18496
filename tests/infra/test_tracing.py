"""Traces on, off, sampled, and with a collector that is gone."""

import asyncio
import logging
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from opentelemetry.trace import SpanKind

from infra.deploy.services.directories import CHECKOUT
from infra.settings import Settings
from infra.tracing import FLUSH_SECONDS, Tracer, make_unsampled_context, open_tracer
from schemas.trace_context import TraceContext, parse_traceparent
from tests.collector import collecting

PARENT = TraceContext("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a@b@c=1,d=2")
GONE = "http://127.0.0.1:1"
DROPPED = "the collector takes no spans, they are dropped"


@asynccontextmanager
async def tracing(url: str, ratio: float = 1) -> AsyncIterator[Tracer]:
    settings = Settings(traces_endpoint=url, traces_sample_ratio=ratio)
    async with open_tracer(settings, "test") as tracer:
        assert tracer is not None
        yield tracer


async def test_without_an_endpoint_there_is_no_tracer() -> None:
    async with open_tracer(Settings(), "test") as tracer:
        assert tracer is None


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({"traces_endpoint": "http://c:4318"}, "http://c:4318/v1/traces"),
        ({"traces_endpoint": "http://c:4318/"}, "http://c:4318/v1/traces"),
        ({"traces_endpoint": "http://c/otlp/v1/traces"}, "http://c/otlp/v1/traces"),
        ({"otel_exporter_otlp_endpoint": "http://c/otlp"}, "http://c/otlp/v1/traces"),
        ({"otel_exporter_otlp_traces_endpoint": "http://c/x"}, "http://c/x"),
        (
            {"otel_exporter_otlp_endpoint": "http://c", "otel_exporter_otlp_traces_endpoint": GONE},
            GONE,
        ),
        ({"traces_endpoint": GONE, "otel_exporter_otlp_endpoint": "http://c"}, f"{GONE}/v1/traces"),
        ({}, ""),
    ],
)
def test_the_collector_is_named_by_our_setting_or_by_those_of_opentelemetry(
    given: dict[str, str], url: str
) -> None:
    assert Settings.model_validate(given).spans_url == url


async def test_a_span_is_exported_with_its_parent_its_state_and_its_error() -> None:
    async with collecting() as collector:
        async with tracing(collector.url) as tracer:
            span = tracer.start("a", SpanKind.CLIENT, PARENT, {"x": 1}, links=[PARENT])
            child = tracer.start("b", SpanKind.SERVER, span.context, {})
            child.end("TIMEOUT")
            span.end()
        (first,), (second,) = collector.named("a"), collector.named("b")
    assert (first.trace, first.parent) == (PARENT.trace_id, PARENT.span_id)
    assert first.links == ((PARENT.trace_id, PARENT.span_id),)
    assert (second.trace, second.parent) == (first.trace, first.id)
    assert span.context == TraceContext(f"00-{first.trace}-{first.id}-01", PARENT.tracestate)
    assert (first.failed, second.failed) == (False, True)
    assert second.attributes["error.type"] == "TIMEOUT"
    assert first.service == "test"


async def test_the_decision_of_a_trace_is_followed_and_made_by_the_ratio_where_it_begins() -> None:
    unsampled = make_unsampled_context()
    assert parse_traceparent(unsampled.traceparent) == unsampled.traceparent
    async with tracing(GONE, 0) as never, tracing(GONE, 1) as always, tracing(GONE, 0.3) as some:
        assert [never.samples(PARENT), never.samples(None)] == [True, False]
        assert [always.samples(unsampled), always.samples(None)] == [False, True]
        assert 2500 < sum(some.samples_root() for _ in range(10_000)) < 3500


def make_spans(tracer: Tracer, count: int) -> None:
    for _ in range(count):
        tracer.start("a", SpanKind.INTERNAL, None, {}).end()


async def test_a_collector_that_is_gone_delays_nothing_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with collecting() as collector:
        collector.status = 400
        async with tracing(collector.url) as tracer:
            began = time.perf_counter()
            make_spans(tracer, 2000)
            assert time.perf_counter() - began < 2
            await collector.until(lambda: collector.requests > 2)
            assert [record.message for record in caplog.records] == [DROPPED]
            collector.status = 200
            make_spans(tracer, 1)
            await collector.until(lambda: collector.spans)
            await _logged(caplog, "the collector takes spans again")
    assert len(caplog.records) == 2


async def _logged(caplog: pytest.LogCaptureFixture, message: str) -> None:
    async with asyncio.timeout(10):
        while message not in [record.message for record in caplog.records]:
            await asyncio.sleep(0.01)


async def test_the_end_waits_no_longer_than_it_may_for_a_collector_that_does_not_answer() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        async with tracing(f"http://127.0.0.1:{silent.getsockname()[1]}") as tracer:
            make_spans(tracer, 10)
            began = time.perf_counter()
        assert FLUSH_SECONDS <= time.perf_counter() - began < FLUSH_SECONDS + 1


async def test_the_end_does_not_wait_for_a_collector_that_has_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with collecting() as collector:
        collector.status = 400
        async with tracing(collector.url) as tracer:
            make_spans(tracer, 1)
            await _logged(caplog, DROPPED)
            make_spans(tracer, 1)
            began = time.perf_counter()
        assert time.perf_counter() - began < FLUSH_SECONDS / 2


async def test_the_end_sends_what_is_left() -> None:
    async with collecting() as collector:
        async with tracing(collector.url) as tracer:
            make_spans(tracer, 1500)
        assert len(collector.named("a")) == 1500


def test_without_the_extra_a_process_with_an_endpoint_says_so_and_ends() -> None:
    code = (
        "import asyncio, sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from infra.settings import Settings\n"
        "from infra.tracing import open_tracer\n"
        "async def run():\n"
        "    async with open_tracer(Settings(), 'test'): pass\n"
        "asyncio.run(run())"
    )
    environment = {"TRACES_ENDPOINT": GONE}
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "TRACES_ENDPOINT: traces need more packages: install adrelay[otel],"
        " or leave the endpoint out\n"
    )
