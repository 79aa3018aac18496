"""Every expression of the dashboards, the recording rules and the alerts."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from infra.amqp import topology
from infra.dashboards.build import FOLDER
from infra.deploy.services import prometheus
from schemas.types import PLATFORMS

RULES = prometheus.DASHBOARDS / "rules.yaml"
ALERTS = prometheus.DASHBOARDS / "alerts.yaml"
WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
OPERATORS = {"and", "or", "unless", "bool", "offset"}
QUEUES = (*topology.WORK_QUEUE_NAMES, *(queue.name for queue in topology.REQUEST_QUEUES))
# What Grafana puts in place of its variables when everything is chosen.
VARIABLES = {
    "$__rate_interval": "1m",
    "$queue": f"({'|'.join(name.replace('.', '[.]') for name in QUEUES)})",
    "$platform": f"({'|'.join(PLATFORMS)})",
}


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression, and where it is."""

    place: str
    promql: str

    def __str__(self) -> str:
        return self.place


def dashboards() -> dict[str, dict[str, Any]]:
    return {path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """List the panels with their dashboard, without rows."""
    for name, dashboard in dashboards().items():
        yield from ((name, panel) for panel in dashboard["panels"] if panel["type"] != "row")


def recording_rules() -> list[dict[str, Any]]:
    return _rules(RULES.read_text())


def alerts() -> list[dict[str, Any]]:
    return _rules(ALERTS.read_text())


def _rules(text: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def shown() -> list[Expression]:
    """List the expressions of panels, with values for Grafana's variables."""
    return [
        Expression(f"{name} {panel['title']} {target['refId']}", fill(target["expr"]))
        for name, panel in panels()
        for target in panel["targets"]
    ]


def recorded() -> list[Expression]:
    return [Expression(rule["record"], rule["expr"]) for rule in recording_rules()]


def alerting() -> list[Expression]:
    return [
        Expression(f"{rule['alert']} {rule['labels'].get('window', '')}".strip(), rule["expr"])
        for rule in alerts()
    ]


def fill(expression: str) -> str:
    """Put values in place of Grafana's variables."""
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def metrics_in(expression: str) -> set[str]:
    """Find the names of metrics: what is no function, no keyword, no label and no text."""
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]', "", expression)
    bare = re.sub(r"\{[^}]*\}", "", bare)
    bare = re.sub(rf"\b({'|'.join(WORDS)})\s*\([^)]*\)", "", bare)
    names = re.findall(r"\b([a-zA-Z_:][a-zA-Z0-9_:]*)\b(?!\s*\()", bare)
    return set(names) - OPERATORS - WORDS


def selectors_in(expression: str) -> set[str]:
    """Find the vector selectors: each metric with its matchers."""
    found = set()
    for name in metrics_in(expression):
        found |= set(re.findall(rf"(?<![\w:]){name}(?![\w:])(?:\{{[^}}]*\}})?", expression))
    return found
