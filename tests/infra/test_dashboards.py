"""The dashboard and the alerts: they ask for metrics that exist, and alerts fire when they should.

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
from infra.deploy.services.directories import CHECKOUT

ALERTS = prometheus.DASHBOARDS / "alerts.yaml"
ALERTS_TEST = prometheus.DASHBOARDS / "alerts_test.yaml"
DASHBOARD = prometheus.DASHBOARDS / "adrelay.json"

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
# The dashboards as code show them.
NOT_SHOWN_YET = (
    "adrelay_audit_rows",
    "adrelay_build_info",
    "adrelay_db_pool_",
    "adrelay_dead_letters",
    "adrelay_event_seconds",
    "adrelay_inbox_rows",
    "adrelay_log_oldest_unsettled_seconds",
    "adrelay_operations_rows",
    "adrelay_paused",
    "adrelay_publish_confirm_seconds",
    "adrelay_redis_pool_connections",
    "adrelay_retries",
    "adrelay_webhook_",
)
WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
OPERATORS = {"and", "or", "unless", "bool", "offset"}


@pytest.fixture(scope="module")
def promtool() -> str:
    if shutil.which("promtool") is None:
        apt.install(prometheus.PACKAGES, print)
    found = shutil.which("promtool")
    assert found, f"install one of: {', '.join(prometheus.PACKAGES)}"
    return found


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> Iterator[Any]:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield pytest.param(target["expr"], id=f"panel {panel['title']} {target['refId']}")
    for rule in rules():
        yield pytest.param(rule["expr"], id=rule["alert"])


def metrics_in(expression: str) -> set[str]:
    """Find the names of metrics: what is no function, no keyword, no label and no text."""
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]', "", expression)
    bare = re.sub(r"\{[^}]*\}", "", bare)
    bare = re.sub(rf"\b({'|'.join(WORDS)})\s*\([^)]*\)", "", bare)
    names = re.findall(r"\b([a-zA-Z_:][a-zA-Z0-9_:]*)\b(?!\s*\()", bare)
    return set(names) - OPERATORS - WORDS


def known_metrics() -> set[str]:
    def names(metric: Metric) -> Iterator[str]:
        yield from (metric.name + suffix for suffix in SUFFIXES.get(metric.type, ("",)))

    return {name for metric in REGISTRY.collect() for name in names(metric)}


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - promtool


def test_names_of_metrics_are_found_in_an_expression() -> None:
    expression = 'max by (queue) (a_total{b="c"}) / on (d) sum(rate(e:f[5m])) > 1 or vector(0)'

    assert metrics_in(expression) == {"a_total", "e:f"}


@pytest.mark.parametrize("expression", [*expressions()])
def test_an_expression_asks_for_metrics_that_exist(expression: str) -> None:
    assert metrics.EVENTS_TOTAL  # the registry is filled
    assert metrics_in(expression)
    assert metrics_in(expression) <= known_metrics() | FOREIGN


def test_every_metric_of_adrelay_is_shown() -> None:
    ours = {metric.name for metric in REGISTRY.collect() if metric.name.startswith("adrelay_")}
    ours -= {metric for metric in ours if metric.startswith(NOT_SHOWN_YET)}
    shown = {name for found in expressions() for name in metrics_in(found.values[0])}

    assert {name for name in ours if not any(s.startswith(name) for s in shown)} == set()


def test_every_foreign_metric_is_asked_for() -> None:
    assert {name for found in expressions() for name in metrics_in(found.values[0])} >= FOREIGN


def test_the_panels_have_rows_a_data_source_variable_and_ids_of_their_own() -> None:
    panels = dashboard()["panels"]
    variables = {variable["name"]: variable for variable in dashboard()["templating"]["list"]}

    assert variables["datasource"]["type"] == "datasource"
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert sum(panel["type"] == "row" for panel in panels) == 10
    for panel in panels:
        if panel["type"] != "row":
            sources = {panel["datasource"]["uid"]} | {
                target["datasource"]["uid"] for target in panel["targets"]
            }
            assert sources == {"${datasource}"}, panel["title"]


def test_no_panel_covers_another() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, (panel["title"], taken.get((x, y)))
                taken[x, y] = panel["title"]


def test_the_expressions_of_the_dashboard_are_promql(promtool: str, tmp_path: Path) -> None:
    recorded = [
        {
            "record": f"panel_{panel['id']}_{target['refId']}",
            "expr": target["expr"].replace("$__rate_interval", "1m").replace("$queue", ".*"),
        }
        for panel in dashboard()["panels"]
        for target in panel.get("targets", ())
    ]
    file = tmp_path / "panels.json"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": recorded}]}))

    checked = run(promtool, "check", "rules", file)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(recorded)} rules found" in checked.stdout


def test_the_alerts_are_well_formed(promtool: str) -> None:
    checked = run(promtool, "check", "rules", ALERTS)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_each_alert_fires_when_it_should_and_is_silent_when_it_should_be(promtool: str) -> None:
    tested = run(promtool, "test", "rules", ALERTS_TEST)

    assert tested.returncode == 0, tested.stdout + tested.stderr
    for rule in rules():
        assert f'alertname="{rule["alert"]}"' in ALERTS_TEST.read_text()


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_to_do_and_where_to_read_on(rule: dict[str, Any]) -> None:
    annotations = rule["annotations"]
    page, _, anchor = annotations["runbook_url"].partition("#")

    assert annotations["summary"]
    assert len(annotations["description"]) > 100
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert anchor == rule["alert"].lower()
    assert re.search(rf"^#+ {rule['alert']}$", (CHECKOUT / page).read_text(), re.MULTILINE)


def test_prometheus_loads_the_alerts_and_not_their_test() -> None:
    assert prometheus.RULES == (ALERTS,)
