"""What the console learns from the probes of processes; not known where one does not answer."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from infra.health import CheckResult, PassedCheck, probe_routes
from infra.http.client import open_session
from infra.metrics import export_build_info
from infra.process import PORTS
from infra.settings import Settings
from infra.version import find_release
from tests.processes import free_port
from workers.ops.process_metrics import MetricSample, Readiness, parse_metrics, sum_samples
from workers.ops.process_rows import build_breaker_rows, build_process_rows, describe_versions
from workers.ops.processes import (
    MAX_METRICS_BYTES,
    TIMEOUT,
    ProcessMonitor,
    ProcessReport,
    compare_reports,
    find_addresses,
    read_process_urls,
)

BEGIN = datetime(2026, 11, 29, 14, tzinfo=UTC)
METRICS = """\
# TYPE adrelay_messages_in_hand gauge
adrelay_messages_in_hand{queue="metrics.record"} 7.0
adrelay_messages_in_hand{queue="sync.claude"} 2.0
adrelay_http_requests_in_flight 1.0
python_gc_objects_collected_total{generation="0"} 1.0
process_start_time_seconds 1.7e9
"""
READY = Readiness(ready=True, checks={"broker": True})
UNREADY = Readiness(ready=False, checks={"broker": False, "x": True}, reasons={"broker": "refused"})
PAUSED = Readiness(ready=True, checks={}, notes={"sync.gemini": "paused: OPS-2231 by oncall"})


@asynccontextmanager
async def serving(routes: list[web.RouteDef]) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", free_port())
    await site.start()
    try:
        yield site.name
    finally:
        await runner.cleanup()


def answering(readiness: str, metrics: str) -> list[web.RouteDef]:
    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text=readiness)

    async def show(_: web.Request) -> web.Response:
        return web.Response(text=metrics)

    return [web.get("/readyz", readyz), web.get("/metrics", show)]


async def read(*urls: str) -> list[ProcessReport]:
    monitor = ProcessMonitor(Settings(process_urls=urls))
    async with open_session(TIMEOUT) as session:
        return [*await monitor.read(session)]


async def test_a_process_tells_its_readiness_version_start_and_memory() -> None:
    export_build_info()

    async def checks() -> Mapping[str, CheckResult]:
        return {"broker": "no connection", "sync.claude": PassedCheck("paused: x by y")}

    async with serving(probe_routes(checks)) as url:
        (report,) = await read(f"sync={url}")

    assert report.trouble == ""
    assert report.name == "sync"
    assert url == f"http://{report.address}"
    assert report.readiness is not None
    assert not report.readiness.ready
    assert report.readiness.failed == {"broker": "no connection"}
    assert report.readiness.notes == {"sync.claude": "paused: x by y"}
    assert report.version == find_release()
    assert report.started_at is not None
    assert report.started_at < report.at
    assert report.memory is not None
    assert report.memory > 1024**2


@pytest.mark.parametrize(
    ("readiness", "metrics", "trouble"),
    [
        ("<html>", METRICS, "what answers is no process of Adrelay"),
        ('{"ready": true}', METRICS, "what answers is no process of Adrelay"),
        ('{"ready": true, "checks": {}}', "adrelay_x{ 1", ""),
        ('{"ready": true, "checks": {}}', "process_cpu_seconds_total{ x", "no process of Adrelay"),
        ('{"ready": true, "checks": {}}', "#" * (MAX_METRICS_BYTES + 1), "the answer is too large"),
    ],
    ids=["no JSON", "no checks", "not read", "no metrics", "too large"],
)
async def test_what_answers_otherwise_is_not_known(
    readiness: str, metrics: str, trouble: str
) -> None:
    async with serving(answering(readiness, metrics)) as url:
        (report,) = await read(f"web={url}")
    assert trouble in report.trouble
    assert (report.readiness is None) == bool(trouble)
    assert report.memory is None
    assert report.in_hand is None


async def test_a_process_that_does_not_answer_is_listed_as_not_known() -> None:
    port = free_port()
    (report,) = await read(f"relay=http://127.0.0.1:{port}")
    assert report.name == "relay"
    assert report.address == f"127.0.0.1:{port}"
    assert report.trouble.startswith("no answer")
    assert report.readiness is None


async def test_every_address_of_a_name_is_a_process_and_an_unknown_name_is_one() -> None:
    (unknown,) = await find_addresses("web", "http://nothing.invalid:8080")
    assert unknown.text == "nothing.invalid:8080"
    (one,) = await find_addresses("web", "http://[::1]:8080")
    assert one.text == "[::1]:8080"


def test_without_a_setting_one_of_each_is_looked_for_on_this_host() -> None:
    urls = read_process_urls(Settings(process_urls=()))
    assert dict(urls) == {name: f"http://127.0.0.1:{port}" for name, port in PORTS.items()}


def test_of_the_metrics_only_those_that_are_shown_are_kept() -> None:
    samples = parse_metrics(METRICS)
    assert samples["process_start_time_seconds"] == (MetricSample({}, 1.7e9),)
    assert sum_samples(samples, "adrelay_messages_in_hand") == 9
    assert sum_samples(samples, "adrelay_messages_in_hand", queue="sync.claude") == 2
    assert sum_samples(samples, "adrelay_messages_in_hand", queue="nothing") is None
    assert "python_gc_objects_collected_total" not in samples
    assert ProcessReport("web", "x:1", samples=samples).in_hand == 10


def test_cpu_and_lag_are_means_since_the_report_before_of_the_same_run() -> None:
    def report(seconds: float, start: float, cpu: float, lag: float, count: float) -> ProcessReport:
        lines = {
            "process_start_time_seconds": start,
            "process_cpu_seconds_total": cpu,
            "adrelay_loop_lag_seconds_sum": lag,
            "adrelay_loop_lag_seconds_count": count,
        }
        samples = parse_metrics("".join(f"{name} {value}\n" for name, value in lines.items()))
        return ProcessReport("web", "x:1", BEGIN + timedelta(seconds=seconds), samples=samples)

    first = report(0, 1.7e9, 10, 1, 100)
    second = compare_reports(first, report(4, 1.7e9, 11, 1.5, 150))
    assert second.cpu == pytest.approx(0.25)
    assert second.lag == pytest.approx(0.01)
    restarted = compare_reports(first, report(4, 1.8e9, 0.5, 0.1, 10))
    assert restarted.cpu is None
    assert restarted.lag is None


def made(
    name: str, number: int, readiness: Readiness | None = READY, more: str = ""
) -> ProcessReport:
    info = f'adrelay_build_info{{version="1.{number // 10}",commit="abcdef0123"}} 1\n'
    samples = {} if readiness is None else parse_metrics(info + more)
    trouble = "" if readiness else "no answer in time"
    return ProcessReport(name, f"host:{number}", BEGIN, trouble, readiness, samples)


def test_the_lines_of_processes_say_what_is_wrong_and_what_is_not_known() -> None:
    reports = [
        made("web", 1),
        made("sync", 2, UNREADY),
        made("sync", 3, PAUSED),
        made("metrics", 14, more='adrelay_consumer_isolating{queue="metrics.record"} 1\n'),
        made("relay", 5, None),
    ]
    rows = build_process_rows(reports)
    assert [(row.name, row.icon, row.word, row.detail) for row in rows] == [
        ("web", "ok", "Ready", ""),
        ("sync-1", "bad", "Not ready", "broker: refused"),
        ("sync-2", "ok", "Ready", "sync.gemini is paused: OPS-2231 by oncall"),
        ("metrics", "warn", "Isolating", "takes one message at a time"),
        ("relay", "unknown", "Not known", "no answer in time"),
    ]
    assert [row.is_other_version for row in rows] == [False, False, False, True, False]
    assert set(rows[4].cells.values()) == {"not known"}
    assert describe_versions(reports) == (
        "5 processes, version 1.0 (abcdef0), 1 of another version, 1 not known"
    )


def test_a_breaker_is_shown_at_its_worst_and_is_not_known_without_a_process_that_pushes() -> None:
    closed, opened = (
        "".join(f'adrelay_breaker_state{{platform="{p}"}} {state}\n' for p in ("claude", "gemini"))
        for state in (0, 2)
    )
    rows = build_breaker_rows(
        [made("sync", 1, more=closed), made("sync", 2, more=opened), made("web", 3, more=opened)]
    )
    words = {row.platform: (row.word, row.detail) for row in rows}
    assert words["claude"] == ("Open", "in 1 of 2 processes")
    assert words["chatgpt"] == ("Not known", "no sync process answers")
    assert {row.icon for row in build_breaker_rows([made("sync", 1, None)])} == {"unknown"}
