"""Recording rules and alerts: they ask for metrics that exist, and fire when they should.

``promtool`` comes with Debian's package ``prometheus``, as for ``make run``.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric

from infra import metrics
from infra.deploy.services import apt, prometheus
from tests.chaos.monitored import shorten_rules
from tests.infra.dashboards.expressions import (
    ALERTS,
    RULES,
    Expression,
    alerting,
    alerts,
    metrics_in,
    recorded,
    recording_rules,
    selectors_in,
    shown,
)

TESTS = tuple(
    prometheus.DASHBOARDS / name
    for name in ("alerts_test.yaml", "slo_test.yaml", "silence_test.yaml")
)
# What Prometheus makes itself, and what RabbitMQ's plugin shows (3.10 and newer).
FOREIGN = {
    "ALERTS",
    "rabbitmq_alarms_free_disk_space_watermark",
    "rabbitmq_alarms_memory_used_watermark",
    "rabbitmq_detailed_queue_messages_ready",
    "rabbitmq_detailed_queue_messages_unacked",
}
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}
EVERYTHING = [*shown(), *recorded(), *alerting()]


@pytest.fixture(scope="module")
def promtool() -> str:
    if shutil.which("promtool") is None:
        apt.install(prometheus.PACKAGES, print)
    found = shutil.which("promtool")
    assert found, f"install one of: {', '.join(prometheus.PACKAGES)}"
    return found


def known_metrics() -> set[str]:
    assert metrics.EVENTS_TOTAL  # the registry is filled

    def names(metric: Metric) -> Iterator[str]:
        yield from (metric.name + suffix for suffix in SUFFIXES.get(metric.type, ("",)))

    own = {name for metric in REGISTRY.collect() for name in names(metric)}
    return own | {rule["record"] for rule in recording_rules()}


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - promtool


def test_names_of_metrics_are_found_in_an_expression() -> None:
    expression = 'max by (queue) (a_total{b="c"}) / on (d) sum(rate(e:f[5m])) > 1 or vector(0)'

    assert metrics_in(expression) == {"a_total", "e:f"}
    assert selectors_in(expression) == {'a_total{b="c"}', "e:f"}


@pytest.mark.parametrize("expression", EVERYTHING, ids=str)
def test_an_expression_asks_for_metrics_that_exist(expression: Expression) -> None:
    assert metrics_in(expression.promql)
    assert metrics_in(expression.promql) <= known_metrics() | FOREIGN


@pytest.mark.parametrize("expression", EVERYTHING, ids=str)
def test_no_expression_hides_that_a_series_is_missing(expression: Expression) -> None:
    assert "vector(" not in expression.promql


def test_every_metric_of_adrelay_is_shown() -> None:
    ours = {metric.name for metric in REGISTRY.collect() if metric.name.startswith("adrelay_")}
    asked = {name for found in EVERYTHING for name in metrics_in(found.promql)}

    assert {name for name in ours if not any(s.startswith(name) for s in asked)} == set()


def test_every_recording_rule_is_asked_for() -> None:
    asked = {name for found in (*shown(), *alerting()) for name in metrics_in(found.promql)}

    assert {rule["record"] for rule in recording_rules()} <= asked


def test_every_foreign_metric_is_asked_for() -> None:
    assert {name for found in EVERYTHING for name in metrics_in(found.promql)} >= FOREIGN


def test_the_expressions_of_the_dashboards_are_promql(promtool: str, tmp_path: Path) -> None:
    made = [
        {"record": f"panel_{number}", "expr": expression.promql}
        for number, expression in enumerate(shown())
    ]
    file = tmp_path / "panels.json"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": made}]}))

    checked = run(promtool, "check", "rules", file)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(made)} rules found" in checked.stdout


@pytest.mark.parametrize("file", [RULES, ALERTS], ids=lambda file: file.name)
def test_the_rules_are_well_formed(promtool: str, file: Path) -> None:
    checked = run(promtool, "check", "rules", file)

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name)
def test_the_alerts_fire_when_they_should_and_are_silent_before(promtool: str, file: Path) -> None:
    tested = run(promtool, "test", "rules", file)

    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_promtool_sees_every_alert_fire(rule: dict[str, Any]) -> None:
    fired = f'alertname="{rule["alert"]}", alertstate="firing"'
    window = f', window="{rule["labels"].get("window", "")}"' if "window" in rule["labels"] else ""

    lines = [line for file in TESTS for line in file.read_text().splitlines() if fired in line]
    assert any(window in line for line in lines)


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name)
def test_the_groups_are_evaluated_in_an_order(file: Path) -> None:
    groups = [
        group["name"]
        for rules in (RULES, ALERTS)
        for group in yaml.safe_load(rules.read_text())["groups"]
    ]

    assert yaml.safe_load(file.read_text())["group_eval_order"] == groups


def test_every_test_of_alerts_is_run() -> None:
    assert set(TESTS) == set(prometheus.DASHBOARDS.glob("*_test.yaml"))


def test_prometheus_loads_the_rules_and_not_their_tests() -> None:
    assert prometheus.RULES == (RULES, ALERTS)


def test_the_rules_of_chaos_differ_in_durations_alone() -> None:
    before, after = ALERTS.read_text(), shorten_rules(ALERTS.read_text())

    assert "for: 1h" in before
    assert "for: 120s" in after
    assert "[12h]" in before
    assert "[1440s]" in after
    assert [re.sub(r"\[[^\]]*\]", "", rule["expr"]) for rule in alerts()] == [
        re.sub(r"\[[^\]]*\]", "", rule["expr"])
        for group in yaml.safe_load(after)["groups"]
        for rule in group["rules"]
    ]
