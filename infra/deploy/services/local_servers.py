"""Starts the local servers of a directory side by side, and stops them one after another."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType

from infra.deploy.services import postgres, rabbitmq, redis
from infra.deploy.services.daemon import Daemon
from infra.deploy.services.directories import ServerDirectory
from infra.deploy.services.orphans import end_orphans
from infra.deploy.services.ports import Ports, choose_ports, kept_ports

# By the variable that names the server from outside; the slowest to start comes first.
SERVERS: dict[str, ModuleType] = {
    "RABBITMQ_URL": rabbitmq,
    "DATABASE_URL": postgres,
    "REDIS_URL": redis,
}
START_DEADLINE = 120.0  # seconds
# How each process is asked to end: Postgres closes its clients' connections on SIGINT.
STOP_SIGNALS = {
    redis.NAME: signal.SIGTERM,
    rabbitmq.NAME: signal.SIGTERM,
    rabbitmq.EPMD: signal.SIGTERM,
    postgres.NAME: signal.SIGINT,
}


@dataclass(frozen=True, slots=True)
class LocalServers:
    """The running servers of a directory."""

    directory: ServerDirectory
    ports: Ports


def start_local_servers(
    directory: ServerDirectory,
    variables: Sequence[str] = tuple(SERVERS),
    report: Callable[[str], None] = lambda _: None,
) -> LocalServers:
    """Start the servers of ``variables`` that do not run yet, and wait until all are ready.

    A server in their folders that no pid file knows is ended first: two on the same data
    destroy it.

    Raises ``NotStarted`` when one of them does not come up, ``RuntimeError`` without ports.
    """
    directory.prepare()
    end_orphans(directory, _known_pids(directory), report)
    running = any(Daemon(directory, name).pid() for name in STOP_SIGNALS)
    ports = (kept_ports(directory) if running else None) or choose_ports(directory)
    servers = [server for name, server in SERVERS.items() if name in variables]
    daemons = [server.start(directory, ports) for server in servers]
    for server, daemon in zip(servers, daemons, strict=True):
        daemon.wait_until(partial(server.is_ready, directory, ports), deadline=START_DEADLINE)
        server.provision(directory, ports)
    return LocalServers(directory, ports)


def _known_pids(directory: ServerDirectory) -> set[int]:
    """List the processes that pid files know, Prometheus among them."""
    folder = directory.state / "run"
    pids = (Daemon(directory, file.stem).pid() for file in folder.glob("*.pid"))
    return {pid for pid in pids if pid is not None}


def stop_local_servers(
    directory: ServerDirectory, report: Callable[[str], None] = lambda _: None
) -> None:
    """Stop every server of the directory that was started here, also those without a pid file.

    RabbitMQ takes six seconds to shut down, which disposable data does not need.
    """
    for name, how in STOP_SIGNALS.items():
        hasty = name == rabbitmq.NAME and not directory.durable
        Daemon(directory, name).stop(signal.SIGKILL if hasty else how)
    end_orphans(directory, _known_pids(directory), report)
