"""Alerts: the console's own rules, and the answers of Prometheus."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import ValidationError

from infra.amqp import topology
from infra.http.client import open_session
from infra.messaging.queue_counts import QueueCount, QueueCounts
from infra.messaging.routing_state import RoutingState
from infra.settings.rules import DURATION_UNITS
from tests.infra.dashboards.expressions import alerts as rules_of_prometheus
from tests.workers.ops.samples import START, WELL, Queues, make_pause, make_report, make_sample
from workers.ops.alert import find_page, find_runbook
from workers.ops.alerts.console_alerts import ConsoleAlerts
from workers.ops.alerts.prometheus_alerts import NO_RULES, SILENT, PrometheusAlerts, parse_alerts
from workers.ops.alerts.rules import RULES
from workers.ops.frame import describe_alert_strip
from workers.ops.pages.runbook import read_runbook
from workers.ops.sampler import OutboxState, Sample

QUEUE = "metrics.record"


def trouble(at: float, name: str) -> Sample:
    """Build a sample that shows what a rule is about."""
    counted = make_sample().counts.by_queue
    routing: dict[str, RoutingState] = {
        "AdrelayPathBroken": RoutingState(broken=frozenset({QUEUE})),
        "AdrelayPathsToRecover": RoutingState(lost_paths=frozenset({QUEUE})),
        "AdrelayPathsUnknown": RoutingState(checked_at=START - timedelta(minutes=5)),
    }
    cases: dict[str, dict[str, Any]] = {
        "AdrelayNoConsumer": {"queues": {QUEUE: {"state": "unread", "consumers": 0, "ready": 7}}},
        "AdrelayQueueStopped": {"queues": {QUEUE: {"state": "stopped"}}},
        "AdrelayPaused": {"pauses": [make_pause("gemini", kind="platform")]},
        "AdrelayBacklog": {"queues": {QUEUE: {"ready": 9000}}, "handled": {QUEUE: 10}},
        "AdrelayDeadLetters": {"queues": {QUEUE: {"dead": 3}}},
        "AdrelayBreakerOpen": {"processes": [make_report("sync", claude=0, gemini=1)]},
        "AdrelayOutboxStuck": {"outbox": OutboxState(3, 0, 61.0)},
        "AdrelayOutboxParked": {"outbox": OutboxState(0, 2, 0.0)},
        "AdrelayUnrouted": {
            "counts": QueueCounts(START, {**counted, topology.UNROUTED: QueueCount(2, 0)})
        },
        "AdrelayUnwatched": {"counts": QueueCounts()},
    }
    if name in routing:
        return make_sample(at, flow=replace(WELL, routing=routing[name]))
    return make_sample(at, **cases[name])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.name))
def test_a_rule_fires_when_its_time_is_over_and_never_without_trouble(rule: Any) -> None:
    judge = ConsoleAlerts()
    assert judge.judge([make_sample(0)]).alerts == ()
    early = judge.judge([trouble(0, rule.name)]).alerts
    assert [one.name for one in early] == ([rule.name] if rule.hold == 0 else [])
    assert judge.judge([trouble(max(0, rule.hold - 1), rule.name)]).alerts == early
    (alert,) = judge.judge([trouble(rule.hold, rule.name)]).alerts
    assert (alert.name, alert.severity, alert.since) == (rule.name, rule.severity, START)
    assert judge.judge([make_sample(rule.hold + 2)]).alerts == ()
    again = judge.judge([trouble(rule.hold + 4, rule.name)]).alerts
    is_dated = rule.name == "AdrelayPaused"  # the pause itself says since when
    assert len(again) == (1 if is_dated else len(early)), "the time begins again"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.name))
def test_a_rule_is_one_of_those_that_prometheus_has(rule: Any) -> None:
    (found,) = (one for one in rules_of_prometheus() if one["alert"] == rule.name)
    wait = found.get("for", "0s")
    assert rule.severity == found["labels"]["severity"]
    assert rule.hold == int(wait[:-1]) * DURATION_UNITS[wait[-1]]
    assert read_runbook(rule.name)


def test_a_pause_of_a_person_counts_from_its_beginning_even_for_a_new_console() -> None:
    pauses = [make_pause("gemini", hours=1.5, kind="platform")]
    (alert,) = ConsoleAlerts().judge([make_sample(0, pauses=pauses)]).alerts
    assert alert.name == "AdrelayPaused"
    assert alert.since == START - timedelta(hours=1.5)


def test_pages_come_before_tickets_and_then_the_oldest() -> None:
    judge = ConsoleAlerts()
    tickets: Queues = {"campaigns.apply": {"dead": 1}}
    judge.judge([make_sample(0, tickets)])
    both: Queues = {**tickets, "metrics.record": {"dead": 2}, "auth.register": {"state": "unread"}}
    judge.judge([make_sample(30, both)])
    fired = judge.judge([make_sample(200, both)]).alerts
    assert [one.severity for one in fired] == ["page", "ticket", "ticket"]
    assert fired[1].summary == "campaigns.apply has 1 open dead letters"


def test_without_postgres_the_alerts_are_not_known_and_their_times_stay() -> None:
    judge = ConsoleAlerts()
    judge.judge([trouble(0, "AdrelayDeadLetters")])
    gone = judge.judge([make_sample(30, overview=None, flow=None)])
    assert not gone.is_known
    assert describe_alert_strip(gone).text == "Alerts not known"
    assert len(judge.judge([trouble(61, "AdrelayDeadLetters")]).alerts) == 1


def answer(*alerts: dict[str, Any]) -> bytes:
    return orjson.dumps({"status": "success", "data": {"alerts": alerts}})


def firing(name: str = "AdrelayDeadLetters", **more: Any) -> dict[str, Any]:
    return {
        "labels": {"alertname": name, "severity": "ticket", "queue": QUEUE},
        "annotations": {"summary": "it has\u202e 3", "runbook_url": f"docs/runbooks/{name}.md"},
        "state": "firing",
        "activeAt": "2026-11-29T15:00:00.123456789+01:00",
        "value": "1e+00",
    } | more


def test_an_answer_of_prometheus_is_read() -> None:
    page = firing("AdrelayNoIngress", labels={"alertname": "AdrelayNoIngress", "severity": "page"})
    pending, other = firing(state="pending"), firing("NodeDown")
    first, second = parse_alerts(answer(firing(), page, pending, other))
    assert (first.name, first.severity, first.page) == ("AdrelayNoIngress", "page", "")
    assert second.since == datetime(2026, 11, 29, 14, 0, 0, 123456, UTC)
    assert second.summary == "it has\\u202e 3"
    assert second.page == f"/dead-letters?queue={QUEUE}"
    assert second.runbook == "/runbooks/AdrelayDeadLetters"


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"data": {}}', answer(firing(activeAt="soon")), b"[" * 100_000]
)
def test_another_answer_is_refused(content: bytes) -> None:
    with pytest.raises(ValidationError):
        parse_alerts(content)


def test_links_lead_to_the_console_or_a_web_page_and_nowhere_else() -> None:
    assert find_page("AdrelayNoConsumer", {"queue": "a/../b?x"}) == "/queues#queue-a%2F..%2Fb%3Fx"
    assert find_page("AdrelayNoConsumer", {}) == ""
    assert find_runbook("AdrelayX", "https://wiki.example/x") == "https://wiki.example/x"
    for url in ("javascript:alert(1)", "//wiki.example", "http://", "http://[", "../../etc"):
        assert find_runbook("AdrelayX", url) == "/runbooks/AdrelayX"
    assert find_runbook("../../etc/passwd", "") == ""


class Prometheus:
    """A server that answers what a test wants."""

    def __init__(self) -> None:
        self.alerts, self.status = answer(firing()), 200
        self.rules = orjson.dumps(
            {"data": {"groups": [{"name": "x", "rules": [{"name": "AdrelayNoIngress"}]}]}}
        )

    async def get_alerts(self, _: web.Request) -> web.Response:
        return web.Response(body=self.alerts, status=self.status)

    async def get_rules(self, _: web.Request) -> web.Response:
        return web.Response(body=self.rules, status=self.status)


@pytest.fixture
async def prometheus() -> AsyncIterator[tuple[Prometheus, str]]:
    own, app = Prometheus(), web.Application()
    app.router.add_get("/own/api/v1/alerts", own.get_alerts)
    app.router.add_get("/own/api/v1/rules", own.get_rules)
    async with TestServer(app) as server:
        yield own, str(server.make_url("/own/"))


async def test_alerts_of_prometheus_are_known_only_while_it_answers(
    prometheus: tuple[Prometheus, str],
) -> None:
    server, url = prometheus
    source = PrometheusAlerts(url)
    assert not source.judge([]).is_known
    async with open_session(5) as session:
        await source.refresh(session)
        assert [one.name for one in source.judge([]).alerts] == ["AdrelayDeadLetters"]
        server.alerts = answer()
        await source.refresh(session)
        assert source.judge([]).is_known
        assert describe_alert_strip(source.judge([])).text == "No alert fires"
        for server.alerts, server.status in ((b"oops", 200), (answer(), 503), (b" " * 2**20, 200)):
            await source.refresh(session)
            assert source.judge([]).problem == SILENT
            assert source.judge([]).alerts == ()
        server.alerts, server.status = answer(firing()), 200
        await source.refresh(session)
        assert source.judge([]).is_known


async def test_a_prometheus_without_the_rules_does_not_count_as_calm(
    prometheus: tuple[Prometheus, str],
) -> None:
    server, url = prometheus
    server.alerts, server.rules = answer(), orjson.dumps({"data": {"groups": []}})
    source = PrometheusAlerts(url)
    async with open_session(5) as session:
        await source.refresh(session)
    assert source.judge([]).problem == NO_RULES


async def test_a_prometheus_that_is_gone_is_not_known() -> None:
    source = PrometheusAlerts("http://127.0.0.1:9")
    async with open_session(5) as session:
        await source.refresh(session)
    assert source.judge([]).problem == SILENT
