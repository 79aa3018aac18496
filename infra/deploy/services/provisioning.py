"""Finds or starts RabbitMQ, Postgres and Redis.

    a URL in the environment -> binaries on this machine -> apt -> docker compose -> a message

Each of the three is found separately: one may be given and the others local. With a given
RABBITMQ_URL the other users of the broker are INGRESS_RABBITMQ_URL, CONSOLE_RABBITMQ_URL,
UPSTREAM_RABBITMQ_URL and OPS_RABBITMQ_URL; where one is not given, it is the same user.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

from infra.amqp import permissions
from infra.deploy.services import apt, docker, prometheus, rabbitmq
from infra.deploy.services.daemon import NotStarted
from infra.deploy.services.directories import ServerDirectory
from infra.deploy.services.local_servers import SERVERS, start_local_servers, stop_local_servers
from infra.deploy.services.orphans import Report
from infra.deploy.services.ports import Ports, kept_ports
from infra.messaging.authorization import parse_broker_users

INGRESS_URL, CONSOLE_URL, UPSTREAM_URL, OPS_URL = (
    "INGRESS_RABBITMQ_URL",
    "CONSOLE_RABBITMQ_URL",
    "UPSTREAM_RABBITMQ_URL",
    "OPS_RABBITMQ_URL",
)
MANAGEMENT_URL = "RABBITMQ_MANAGEMENT_URL"
# The broker's users beside that of the workers, by the variable that names them from outside.
BROKER_USERS = {
    INGRESS_URL: permissions.INGRESS_USER,
    CONSOLE_URL: permissions.CONSOLE_USER,
    UPSTREAM_URL: permissions.UPSTREAM_USER,
    OPS_URL: permissions.OPS_USER,
}


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers are. ``ports`` are those of the private ones.

    ``urls`` are for all processes, ``own`` for one process each, by its name in the Procfile.
    """

    urls: Mapping[str, str]
    own: Mapping[str, Mapping[str, str]]
    ports: Ports
    has_private_broker: bool


def start_servers(
    directory: ServerDirectory, environment: Mapping[str, str], report: Report
) -> Servers:
    """Find or start the three servers; returns when all private ones are ready.

    Raises ``NotStarted`` with a sentence that says what to install or what went wrong.
    """
    directory.prepare()
    given = _given_urls(directory, environment)
    wanted = [name for name in SERVERS if name not in given]
    install_missing(report, wanted)
    contained = [name for name in wanted if not SERVERS[name].is_installed()]
    if contained and not docker.is_possible():
        raise NotStarted(_advice(contained))
    for name in wanted:
        how = "in a container" if name in contained else "private"
        report(f"{SERVERS[name].NAME}: {how}")
    local_servers = start_local_servers(
        directory, [name for name in wanted if name not in contained], report
    )
    if contained:
        docker.start(directory, local_servers.ports, [SERVERS[name].NAME for name in contained])
        for name in contained:
            SERVERS[name].provision(directory, local_servers.ports)
    urls = {name: SERVERS[name].url(directory, local_servers.ports) for name in wanted} | given
    has_private_broker = "RABBITMQ_URL" in wanted
    if has_private_broker:
        users = {
            name: rabbitmq.url(directory, local_servers.ports, user)
            for name, user in BROKER_USERS.items()
        }
    else:
        users = {name: environment.get(name) or urls["RABBITMQ_URL"] for name in BROKER_USERS}
    own = {
        process: {"RABBITMQ_URL": users[name]}
        for process, name in (("web", INGRESS_URL), ("ops", CONSOLE_URL), ("release", OPS_URL))
    }
    if has_private_broker:
        looking = {MANAGEMENT_URL: rabbitmq.management_url(directory, local_servers.ports)}
        own["release"] |= looking
        own["relay"] = looking  # it compares the broker with the topology
    urls |= {
        UPSTREAM_URL: users[UPSTREAM_URL],
        "INGRESS_USER": " ".join(_name_asking_users(users)),
        "WORKERS_USER": " ".join(sorted(parse_broker_users(urls["RABBITMQ_URL"]))),
    }
    return Servers(urls, own, local_servers.ports, has_private_broker)


def _name_asking_users(users: Mapping[str, str]) -> list[str]:
    """Name the users that may ask the auth worker: the ingress' and the console's."""
    return sorted(parse_broker_users(f"{users[INGRESS_URL]} {users[CONSOLE_URL]}"))


def _given_urls(directory: ServerDirectory, environment: Mapping[str, str]) -> dict[str, str]:
    """Take the URLs of the environment, unless they are those of an earlier local start."""
    ports = kept_ports(directory)
    ours = {server.url(directory, ports) for server in SERVERS.values()} if ports else set()
    given = {name: environment.get(name, "") for name in SERVERS}
    return {name: url for name, url in given.items() if url and url not in ours}


def install_missing(
    report: Report, wanted: Sequence[str] = tuple(SERVERS), more: Sequence[ModuleType] = ()
) -> None:
    """Install the servers of ``wanted``, Prometheus and ``more`` with apt, where missing."""
    servers = [*(SERVERS[name] for name in wanted), prometheus, *more]
    missing = [server for server in servers if not server.is_installed()]
    if missing:
        apt.install([package for server in missing for package in server.PACKAGES], report)


def _advice(missing: list[str]) -> str:
    names = ", ".join(SERVERS[name].NAME for name in missing)
    packages = " ".join(package for name in missing for package in SERVERS[name].PACKAGES)
    return (
        f"{names}: not on this machine. Do one of these: set {' and '.join(missing)}; "
        f"on Debian or Ubuntu run 'apt-get install {packages}'; "
        "or install docker with its compose plugin"
    )


def stop_servers(directory: ServerDirectory, report: Report = lambda _: None) -> None:
    """End every server that was started here."""
    prometheus.stop(directory)
    stop_local_servers(directory, report)
    docker.stop(directory)
