"""A private Prometheus that scrapes this system's processes and its broker.

The configuration is written at every start, because it names the ports of that start.
Rules and alerts are those of ``infra/dashboards``. Where it is not
installed, the system runs without it, and every process still serves ``/metrics``.
"""

import json
import shutil
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from infra.deploy.services.daemon import Daemon
from infra.deploy.services.directories import (
    CHECKOUT,
    ServerDirectory,
    find_system_user,
    write_private,
)
from infra.deploy.services.ports import Ports, is_open
from infra.health import TARGETS_PATH

NAME = "prometheus"
PACKAGES = ("prometheus",)
DASHBOARDS = CHECKOUT / "infra" / "dashboards"
RULES = (DASHBOARDS / "rules.yaml", DASHBOARDS / "alerts.yaml")
INTERVAL = "5s"
RETENTION = "15d"
BROKER = "rabbitmq"
INGRESS = "web"
FAMILIES = ("queue_coarse_metrics", "queue_consumer_count")


def is_installed() -> bool:
    """Check whether this machine has the server."""
    return shutil.which(NAME) is not None


def url(ports: Ports) -> str:
    """Build ``PROMETHEUS_URL``."""
    return f"http://127.0.0.1:{ports.prometheus}"


def configuration(
    targets: Mapping[str, int], rules: Sequence[str], interval: str = INTERVAL
) -> str:
    """Write the configuration as JSON, which is YAML: one job for each name and port.

    ``interval`` is between two scrapes, and between two evaluations. The broker has two jobs:
    totals, and a line for each queue (``rabbitmq_detailed_...``). Of the ingress every process is
    scraped: it says which there are.
    """
    jobs = [_job(job, port) for job, port in targets.items() if job != INGRESS]
    if INGRESS in targets:
        jobs.append(find_ingress(f"127.0.0.1:{targets[INGRESS]}", interval))
    if BROKER in targets:
        detailed = {"metrics_path": "/metrics/detailed", "params": {"family": list(FAMILIES)}}
        jobs.append(_job(f"{BROKER}-queues", targets[BROKER]) | detailed)
    intervals = {"scrape_interval": interval, "evaluation_interval": interval}
    return json.dumps(
        {"global": intervals, "rule_files": list(rules), "scrape_configs": jobs}, indent=2
    )


def find_ingress(address: str, interval: str) -> dict[str, Any]:
    """Build the job of the ingress at ``host:port``, which lists its pages of metrics."""
    found = {"url": f"http://{address}{TARGETS_PATH}", "refresh_interval": interval}
    return {"job_name": INGRESS, "http_sd_configs": [found]}


def _job(name: str, port: int) -> dict[str, Any]:
    return {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}


def read_rules() -> dict[str, str]:
    """Read the recording rules and alerts, by the names of their files."""
    return {rule.name: rule.read_text() for rule in RULES}


def start(
    directory: ServerDirectory,
    ports: Ports,
    targets: Mapping[str, int],
    rules: Mapping[str, str] | None = None,
    interval: str = INTERVAL,
) -> Daemon:
    """Start the server with the targets of this start; one that runs is stopped first.

    ``rules`` are texts by file name, Adrelay's own unless given.
    """
    daemon, system_user = Daemon(directory, NAME), find_system_user(NAME)
    stop(directory)
    folder = directory.folder(NAME, system_user)
    files = []
    for name, text in (read_rules() if rules is None else rules).items():
        # The server's account may not be able to read the checkout.
        write_private(folder / name, text, system_user)
        files.append(str(folder / name))
    config = folder / "prometheus.yml"
    write_private(config, configuration(targets, files, interval), system_user)
    words = [
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--storage.tsdb.retention.time={RETENTION}",
        f"--web.listen-address=127.0.0.1:{ports.prometheus}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    ]
    daemon.start([shutil.which(NAME) or NAME, *words], system_user, folder)
    return daemon


def wait(daemon: Daemon, ports: Ports) -> None:
    """Wait until it listens."""
    daemon.wait_until(lambda: is_open(ports.prometheus), deadline=30)


def stop(directory: ServerDirectory) -> None:
    """End it, if it runs."""
    Daemon(directory, NAME).stop(signal.SIGTERM)
