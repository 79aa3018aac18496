"""The private servers of a place, together: started side by side, ended one after another."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType

from infra.deploy.services import postgres, rabbitmq, redis
from infra.deploy.services.daemon import Daemon
from infra.deploy.services.directories import Place
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
ENDINGS = {
    redis.NAME: signal.SIGTERM,
    rabbitmq.NAME: signal.SIGTERM,
    rabbitmq.EPMD: signal.SIGTERM,
    postgres.NAME: signal.SIGINT,
}


@dataclass(frozen=True, slots=True)
class Private:
    """The running private servers of a place."""

    place: Place
    ports: Ports


def start_private(
    place: Place,
    variables: Sequence[str] = tuple(SERVERS),
    say: Callable[[str], None] = lambda _: None,
) -> Private:
    """Start the servers of ``variables`` that do not run yet, and wait until all are ready.

    A server in their folders that no pid file knows is ended first: two on the same data
    destroy it.

    Raises ``NotStarted`` when one of them does not come up, ``RuntimeError`` without ports.
    """
    place.prepare()
    end_orphans(place, _known(place), say)
    running = any(Daemon(place, name).pid() for name in ENDINGS)
    ports = (kept_ports(place) if running else None) or choose_ports(place)
    servers = [server for name, server in SERVERS.items() if name in variables]
    daemons = [server.start(place, ports) for server in servers]
    for server, daemon in zip(servers, daemons, strict=True):
        daemon.wait_until(partial(server.answers, place, ports), deadline=START_DEADLINE)
        server.provision(place, ports)
    return Private(place, ports)


def _known(place: Place) -> set[int]:
    """List the processes that pid files know, Prometheus among them."""
    folder = place.state / "run"
    pids = (Daemon(place, file.stem).pid() for file in folder.glob("*.pid"))
    return {pid for pid in pids if pid is not None}


def stop_private(place: Place, say: Callable[[str], None] = lambda _: None) -> None:
    """End every server of the place that was started here, also those that no pid file knows.

    RabbitMQ takes its time to say goodbye (six seconds), which disposable data is not worth.
    """
    for name, how in ENDINGS.items():
        hasty = name == rabbitmq.NAME and not place.durable
        Daemon(place, name).stop(signal.SIGKILL if hasty else how)
    end_orphans(place, _known(place), say)
