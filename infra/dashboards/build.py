"""Writes the dashboards for Grafana: ``python -m infra.dashboards.build``."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from infra.dashboards import business, dead_letters, ingress, overview, platforms, queue

FOLDER = Path(__file__).resolve().parent / "grafana" / "dashboards"
INTERVAL_FIELDS = ("auto", "auto_min", "auto_count")
DASHBOARDS: Mapping[str, Callable[[], Dashboard]] = {
    "overview.json": overview.build,
    "ingress.json": ingress.build,
    "queue.json": queue.build,
    "dead-letters.json": dead_letters.build,
    "platforms.json": platforms.build,
    "business.json": business.build,
}


def encode(dashboard: Dashboard) -> str:
    """Write a dashboard as Grafana's JSON.

    The SDK gives every variable the fields of an interval, which Grafana's schema does not know.
    """
    plain = json.loads(json.dumps(dashboard, cls=JSONEncoder))
    for variable in plain["templating"]["list"]:
        for name in INTERVAL_FIELDS:
            variable.pop(name, None)
    return json.dumps(plain, indent=1, sort_keys=True) + "\n"


def main() -> int:
    """Write every file."""
    for name, build in DASHBOARDS.items():
        (FOLDER / name).write_text(encode(build()))
        sys.stdout.write(f"{FOLDER / name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
