"""A private Redis: a password, loopback, and an append-only file where data must last."""

import shutil
import socket
from pathlib import Path

from infra.deploy.services.daemon import Daemon
from infra.deploy.services.directories import ServerDirectory, find_system_user, write_private
from infra.deploy.services.ports import Ports

NAME = "redis"
PACKAGES = ("redis-server",)


def is_installed() -> bool:
    """Check whether this machine has the server."""
    return shutil.which("redis-server") is not None


def url(directory: ServerDirectory, ports: Ports) -> str:
    """Build ``REDIS_URL``."""
    return f"redis://:{directory.passwords()['REDIS_PASSWORD']}@127.0.0.1:{ports.redis}/0"


def start(directory: ServerDirectory, ports: Ports) -> Daemon:
    """Start the server in the background; ``Daemon.wait_until`` waits for it."""
    daemon, system_user = Daemon(directory, NAME), find_system_user(NAME)
    if daemon.pid() is None:
        folder = directory.folder(NAME, system_user)
        config = folder / "redis.conf"
        write_private(config, _config(directory, ports, folder), system_user)
        program = shutil.which("redis-server") or "redis-server"
        daemon.start([program, str(config)], system_user, folder)
    return daemon


def _config(directory: ServerDirectory, ports: Ports, folder: Path) -> str:
    keep = "appendonly yes" if directory.durable else "appendonly no\nsave ''"
    return (
        f"bind 127.0.0.1\nport {ports.redis}\nprotected-mode yes\ndaemonize no\n"
        f"dir {folder}\nrequirepass {directory.passwords()['REDIS_PASSWORD']}\n"
        f"databases 64\n{keep}\n"
    )


def is_ready(directory: ServerDirectory, ports: Ports) -> bool:
    """Check whether it has loaded its data and accepts the password."""
    password = directory.passwords()["REDIS_PASSWORD"]
    try:
        with socket.create_connection(("127.0.0.1", ports.redis), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            with connection.makefile("rb") as lines:
                return lines.readline().startswith(b"+OK") and b"PONG" in lines.readline()
    except OSError:
        return False


def provision(directory: ServerDirectory, ports: Ports) -> None:
    """Do nothing: the password is in its configuration."""
