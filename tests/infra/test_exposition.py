"""How metrics are written: as the scraper asks for them, whatever it asks for."""

import gzip
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from infra import metrics
from infra.exposition import choose_format
from infra.health import probe_routes
from infra.metrics.batch_histogram import BatchHistogram

# What Prometheus 2 and 3 send.
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1"
    ";q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;"
    "escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"


def open_families(text: str) -> list[Metric]:
    """Parse OpenMetrics; the parser raises for whatever breaks its rules."""
    return [*parse_openmetrics(text)]  # type: ignore[no-untyped-call]


@pytest.fixture
async def probes() -> AsyncIterator[str]:
    async def checks() -> dict[str, bool]:
        return {}

    app = web.Application()
    app.add_routes(probe_routes(checks))
    async with TestServer(app) as server:
        yield str(server.make_url("/metrics"))


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (PROMETHEUS_2, OPEN),
        (PROMETHEUS_3, OPEN),
        ("application/openmetrics-text", OPEN),
        ("APPLICATION/OpenMetrics-Text; Version=1.0.0", OPEN),
        ("", PLAIN),
        ("*/*", PLAIN),
        ("text/html,application/xhtml+xml,*/*;q=0.8", PLAIN),
        ("text/plain;version=0.0.4", PLAIN),
        ("application/openmetrics-text;version=1.0.0;q=0", PLAIN),
        ("application/openmetrics-text;q=0.1,text/plain;q=0.9", PLAIN),
        ("application/openmetrics-text;version=2.0.0", PLAIN),
        ("application/openmetrics-text;version=x", PLAIN),
        ("application/openmetrics-text;version=1.\u0663.0", PLAIN),
        ("application/openmetrics-text;q=nan", PLAIN),
        ("application/openmetrics-text;q=7", PLAIN),
        (";;;=,=;q", PLAIN),
    ],
)
def test_the_format_is_the_one_that_is_asked_for(accept: str, content_type: str) -> None:
    chosen = choose_format(accept, "")

    assert chosen.content_type == content_type
    assert not chosen.is_compressed


@pytest.mark.parametrize(
    ("encodings", "is_compressed"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("identity", False),
        ("", False),
        ("gzip;q=no", False),
    ],
)
def test_it_is_compressed_where_that_is_understood(encodings: str, is_compressed: bool) -> None:  # noqa: FBT001 - a column of the table
    assert choose_format("", encodings).is_compressed is is_compressed


async def test_every_metric_is_valid_in_both_formats(probes: str) -> None:
    assert metrics.EVENTS_TOTAL  # the registry is filled
    async with aiohttp.ClientSession(auto_decompress=False) as client:
        text = await client.get(probes, headers={"Accept-Encoding": "identity"})
        opened = await client.get(
            probes, headers={"Accept": PROMETHEUS_3, "Accept-Encoding": "gzip"}
        )

        assert text.headers["Content-Type"] == PLAIN
        assert "Content-Encoding" not in text.headers
        plain = {family.name for family in parse_text(await text.text())}
        assert opened.headers["Content-Type"] == OPEN
        assert opened.headers["Content-Encoding"] == "gzip"
        assert opened.headers["Vary"] == "Accept, Accept-Encoding"
        families = open_families(gzip.decompress(await opened.read()).decode())
    assert plain == {family.name for family in families}
    assert "process_cpu_seconds" in plain
    assert len({family.name for family in families}) == len(families)


def test_exemplars_are_written_as_openmetrics_alone_has_them() -> None:
    registry = CollectorRegistry()
    histogram = BatchHistogram("waited_seconds", "Waits", ["queue"], (0.1, 1), registry)
    bins = histogram.labels("q")
    bins.observe_all([0.05, 0.5, 7])
    bins.mark(0.5, "0af7651916cd43dd8448eb211c80319c")
    Counter("other", "Other", registry=registry)

    opened = choose_format(OPEN, "").write(registry).decode()
    plain = choose_format(PLAIN, "").write(registry).decode()

    (family,) = (f for f in open_families(opened) if f.name == "waited_seconds")
    traced = {
        s.labels["le"]: (s.value, s.exemplar and s.exemplar.labels["trace_id"])
        for s in family.samples
        if "le" in s.labels
    }
    assert traced == {
        "0.1": (1, None),
        "1.0": (2, "0af7651916cd43dd8448eb211c80319c"),
        "+Inf": (3, None),
    }
    assert "0af7651916cd43dd8448eb211c80319c" not in plain
