"""Starts and stops all of Adrelay: servers, release, seed, processes, in this order.

What is started here is ended here. ``make run`` keeps it in the foreground, ``make up``
leaves the supervisor in the background.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from infra.deploy.env_files import env_file, write_env
from infra.deploy.process_status import delete_status, stop_survivors
from infra.deploy.procfile import RELEASE, SANDBOX, Process, plan
from infra.deploy.services import prometheus
from infra.deploy.services.daemon import Daemon, NotStarted
from infra.deploy.services.directories import CHECKOUT, ServerDirectory, SystemUser
from infra.deploy.services.orphans import Report
from infra.deploy.services.provisioning import Servers, start_servers, stop_servers
from infra.deploy.started_settings import ADRELAY_URL, parse_port, record_started_settings
from infra.env_file import read_env_file

SUPERVISOR = "supervisor"
STEP_DEADLINE = 180.0  # seconds
STOP_DEADLINE = 90.0  # seconds; longer than the supervisor's own and the servers'
# Commands of ``adrelay`` that run once before the processes, with what they do.
MIGRATE = "migrate"
STEPS = {MIGRATE: "migrating and declaring", "seed": "seeding"}


def supervisor_pid(directory: ServerDirectory) -> int | None:
    """Find the process id of the supervisor, in the foreground or not."""
    return Daemon(directory, SUPERVISOR).pid()


def start(
    directory: ServerDirectory, environment: Mapping[str, str], report: Report
) -> list[Process]:
    """Start the servers and prepare them; returns the processes that may now be started.

    Raises ``NotStarted`` with the reason.
    """
    wanted = parse_port(environment.get(ADRELAY_URL, ""))
    for name in stop_survivors(directory):
        report(f"ended {name}, left behind by an earlier supervisor")
    delete_status(directory)
    servers = start_servers(directory, environment, report)
    processes = plan(directory, wanted, report)
    values = write_env(directory, servers, processes, environment)
    record_started_settings(directory, environment)
    _start_prometheus(directory, servers, processes, report)
    for command, what in STEPS.items():
        report(what)
        own = read_env_file(env_file(directory, RELEASE)) if command == MIGRATE else {}
        _run_step(command, {**environment, **values, **own})
    return processes


def _start_prometheus(
    directory: ServerDirectory, servers: Servers, processes: Sequence[Process], report: Report
) -> None:
    if not prometheus.is_installed():
        report("prometheus is not installed: /metrics is served, but not scraped")
        return
    targets = {process.name: process.port for process in processes if process.name != SANDBOX}
    if servers.has_private_broker:
        targets[prometheus.BROKER] = servers.ports.broker_metrics
    daemon = prometheus.start(directory, servers.ports, targets)
    prometheus.wait(daemon, servers.ports)


def _run_step(command: str, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "infra.commands", command],
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=STEP_DEADLINE,
    )
    if done.returncode:
        raise NotStarted(f"adrelay {command} failed:\n{done.stdout[-3000:]}")


def start_supervisor(directory: ServerDirectory, environment: Mapping[str, str]) -> None:
    """Start the supervisor in the background, as ourselves."""
    system_user = SystemUser(os.geteuid(), os.getegid(), switches=False)
    words = [sys.executable, "-m", "infra.deploy", "supervise"]
    Daemon(directory, SUPERVISOR).start(words, system_user, CHECKOUT, environment)


def stop(directory: ServerDirectory, report: Report = lambda _: None) -> None:
    """End the processes, then the servers."""
    Daemon(directory, SUPERVISOR).stop(deadline=STOP_DEADLINE)
    stop_survivors(directory)
    stop_servers(directory, report)
