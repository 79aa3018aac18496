"""The whole of a running Adrelay: servers, release, seed, processes, in this order.

What is started here is ended here. ``make run`` keeps it in the foreground, ``make up``
leaves the supervisor in the background.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from infra.deploy.env_files import env_file, write_env
from infra.deploy.process_status import end_survivors, forget
from infra.deploy.procfile import RELEASE, SANDBOX, Process, plan
from infra.deploy.services import prometheus
from infra.deploy.services.daemon import Daemon, NotStarted
from infra.deploy.services.directories import CHECKOUT, Account, Place
from infra.deploy.services.provisioning import Servers, provide, withdraw
from infra.deploy.started_settings import URL, port_of, write_started
from infra.env_file import read_env_file

SUPERVISOR = "supervisor"
STEP_DEADLINE = 180.0  # seconds
STOP_DEADLINE = 90.0  # seconds; longer than the supervisor's own and the servers'
# Modules run once before the processes, with what they are for.
MIGRATE = "infra.commands.migrate"
STEPS = {MIGRATE: "migrating and declaring", "infra.commands.seed": "seeding"}

Say = Callable[[str], None]


def running(place: Place) -> int | None:
    """Find the process id of the supervisor, in the foreground or not."""
    return Daemon(place, SUPERVISOR).pid()


def start(place: Place, environment: Mapping[str, str], say: Say) -> list[Process]:
    """Start the servers and prepare them; returns the processes that may now be started.

    Raises ``NotStarted`` with the reason.
    """
    wanted = port_of(environment.get(URL, ""))
    for name in end_survivors(place):
        say(f"ended {name}, left behind by an earlier supervisor")
    forget(place)
    servers = provide(place, environment, say)
    processes = plan(place, wanted, say)
    values = write_env(place, servers, processes, environment)
    write_started(place, environment)
    _start_prometheus(place, servers, processes, say)
    for module, what in STEPS.items():
        say(what)
        own = read_env_file(env_file(place, RELEASE)) if module == MIGRATE else {}
        _step(module, {**environment, **values, **own})
    return processes


def _start_prometheus(
    place: Place, servers: Servers, processes: Sequence[Process], say: Say
) -> None:
    if not prometheus.is_installed():
        say("prometheus is not installed: /metrics is there, but nobody scrapes it")
        return
    targets = {process.name: process.port for process in processes if process.name != SANDBOX}
    if servers.has_private_broker:
        targets[prometheus.BROKER] = servers.ports.broker_metrics
    daemon = prometheus.start(place, servers.ports, targets)
    prometheus.wait(daemon, servers.ports)


def _step(module: str, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=STEP_DEADLINE,
    )
    if done.returncode:
        raise NotStarted(f"python -m {module} failed:\n{done.stdout[-3000:]}")


def start_supervisor(place: Place, environment: Mapping[str, str]) -> None:
    """Start the supervisor in the background, as ourselves."""
    account = Account(os.geteuid(), os.getegid(), switches=False)
    words = [sys.executable, "-m", "infra.deploy", "supervise"]
    Daemon(place, SUPERVISOR).start(words, account, CHECKOUT, environment)


def stop(place: Place, say: Say = lambda _: None) -> None:
    """End the processes, then the servers."""
    Daemon(place, SUPERVISOR).stop(deadline=STOP_DEADLINE)
    end_survivors(place)
    withdraw(place, say)
