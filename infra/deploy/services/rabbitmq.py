"""A private RabbitMQ: own Erlang node, cookie, epmd and ports, all on loopback.

epmd (Erlang's name server) is started first and as our own child, so that the node finds it
on its own port and it can be ended by its process id like everything else.
"""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from infra.amqp.management_api import OPERATOR_USER
from infra.amqp.permissions import (
    CONSOLE_USER,
    INGRESS_USER,
    OPS_USER,
    UPSTREAM_USER,
    VHOST,
    WORKERS_USER,
    definitions,
)
from infra.deploy.services.blocking_management_api import BlockingManagementApi
from infra.deploy.services.daemon import Daemon, NotStarted
from infra.deploy.services.directories import (
    ServerDirectory,
    SystemUser,
    find_system_user,
    write_private,
)
from infra.deploy.services.ports import Ports, is_open

NAME = "rabbitmq"
EPMD = "epmd"
PACKAGES = ("rabbitmq-server",)
MIN_VERSION = (3, 10)  # before it, dead-lettering at least once does not exist
# A publisher's larger message is refused by the broker (3.10 takes 128 MiB by itself).
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
PLUGINS = "[rabbitmq_management,rabbitmq_prometheus].\n"
# The name under which the password of each user is kept.
PASSWORDS = {
    INGRESS_USER: "RABBITMQ_INGRESS_PASSWORD",
    CONSOLE_USER: "RABBITMQ_CONSOLE_PASSWORD",
    WORKERS_USER: "RABBITMQ_WORKERS_PASSWORD",
    UPSTREAM_USER: "RABBITMQ_UPSTREAM_PASSWORD",
    OPS_USER: "RABBITMQ_OPS_PASSWORD",
}
# Idle schedulers sleep at once instead of spinning: this machine has other work to do.
ERLANG_ARGUMENTS = (
    "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none"
)
# Where data need not outlive the machine: the write-ahead log of quorum queues is written without
# fdatasync (https://github.com/rabbitmq/ra, ra_log_wal). The end of the process loses nothing.
NO_SYNC = "-ra wal_sync_method none"


def program() -> str | None:
    """Find the server's own start script; the distribution's wrapper insists on its own paths.

    ``RABBITMQ_PROGRAM`` names another one, such as that of a newer version to be tried.
    """
    if named := os.environ.get("RABBITMQ_PROGRAM"):
        return named
    for folder in sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*")):
        return str(folder / "sbin" / "rabbitmq-server")
    return shutil.which("rabbitmq-server")


def _checked_program() -> str:
    found = program()
    if found is None:
        raise NotStarted("RabbitMQ is not installed")
    version = re.search(r"rabbitmq_server-(\d+)\.(\d+)", found)
    if version and (int(version[1]), int(version[2])) < MIN_VERSION:
        raise NotStarted(
            f"RabbitMQ {version[1]}.{version[2]} is too old: Adrelay needs 3.10 or newer; "
            "set RABBITMQ_URL to a newer one"
        )
    return found


def is_installed() -> bool:
    """Check whether this machine has the server and its Erlang."""
    return program() is not None and shutil.which("epmd") is not None


def url(directory: ServerDirectory, ports: Ports, user: str = WORKERS_USER) -> str:
    """Build ``RABBITMQ_URL`` of a user."""
    return f"amqp://{user}:{broker_passwords(directory)[user]}@127.0.0.1:{ports.amqp}/{VHOST}"


def management_url(directory: ServerDirectory, ports: Ports) -> str:
    """Build the URL of the management API for the user who declares and looks."""
    return f"http://{OPS_USER}:{broker_passwords(directory)[OPS_USER]}@127.0.0.1:{ports.management}"


def broker_passwords(directory: ServerDirectory) -> dict[str, str]:
    """Read the passwords of the broker's users."""
    known = directory.passwords()
    return {user: known[name] for user, name in PASSWORDS.items()}


def start(directory: ServerDirectory, ports: Ports) -> Daemon:
    """Start epmd and the node in the background; ``Daemon.wait_until`` waits for the node."""
    daemon, system_user = Daemon(directory, NAME), find_system_user(NAME)
    if daemon.pid() is None:
        folder = directory.folder(NAME, system_user)
        _write_files(directory, ports, folder, system_user)
        _start_epmd(directory, ports, folder, system_user)
        env = _environment(directory, ports, folder)
        daemon.start([_checked_program()], system_user, folder, env)
    return daemon


def _start_epmd(
    directory: ServerDirectory, ports: Ports, folder: Path, system_user: SystemUser
) -> None:
    epmd = Daemon(directory, EPMD)
    if epmd.pid() is None:
        words = ["-port", str(ports.epmd), "-address", "127.0.0.1"]
        epmd.start([shutil.which("epmd") or "epmd", *words], system_user, folder)
        epmd.wait_until(lambda: is_open(ports.epmd), deadline=10)


def _write_files(
    directory: ServerDirectory, ports: Ports, folder: Path, system_user: SystemUser
) -> None:
    passwords = directory.passwords()
    config = (
        f"listeners.tcp.1 = 127.0.0.1:{ports.amqp}\n"
        f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {ports.management}\n"
        f"prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {ports.broker_metrics}\n"
        f"default_user = {OPERATOR_USER}\n"
        f"default_pass = {passwords['RABBITMQ_OPERATOR_PASSWORD']}\n"
        f"default_user_tags.administrator = true\ndefault_vhost = {VHOST}\n"
        "log.console = true\nlog.console.level = warning\nlog.file = false\n"
        "disk_free_limit.absolute = 200MB\n"
        f"max_message_size = {MAX_MESSAGE_BYTES}\n"
    )
    files = {
        "rabbitmq.conf": config,
        "rabbitmq-env.conf": "",  # replaces the machine's own in /etc
        "enabled_plugins": PLUGINS,
    }
    for name, text in files.items():
        write_private(folder / name, text, system_user)
    cookie = folder / ".erlang.cookie"
    if not cookie.exists():
        write_private(cookie, passwords["ERLANG_COOKIE"], system_user)
        cookie.chmod(0o400)


def _environment(directory: ServerDirectory, ports: Ports, folder: Path) -> Mapping[str, str]:
    arguments = [ERLANG_ARGUMENTS, *([] if directory.durable else [NO_SYNC])]
    return {
        "ERL_EPMD_PORT": str(ports.epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"adrelay_{directory.tag}@localhost",
        "RABBITMQ_DIST_PORT": str(ports.distribution),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "config"),
        "RABBITMQ_SCHEMA_DIR": str(folder / "schema"),
        "RABBITMQ_PID_FILE": str(folder / "rabbitmq.pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(arguments),
    }


def is_ready(directory: ServerDirectory, ports: Ports) -> bool:
    """Check whether the node serves clients and its management API accepts the password."""
    return is_open(ports.amqp) and open_management_api(directory, ports).is_available()


def provision(directory: ServerDirectory, ports: Ports) -> None:
    """Make the vhost, its users with their permissions, and the policy for foreign queues.

    Raises ``NotStarted`` with the broker's reason when it takes none of that.
    """
    try:
        open_management_api(directory, ports).import_definitions(
            definitions(VHOST, broker_passwords(directory))
        )
    except OSError as error:
        raise NotStarted(f"RabbitMQ does not take our definitions: {error}") from error


def open_management_api(directory: ServerDirectory, ports: Ports) -> BlockingManagementApi:
    """Open the management API as the administrator of this private node."""
    password = directory.passwords()["RABBITMQ_OPERATOR_PASSWORD"]
    return BlockingManagementApi(f"http://{OPERATOR_USER}:{password}@127.0.0.1:{ports.management}")
