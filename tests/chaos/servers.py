"""Servers of chaos' own, which may be killed, frozen and restarted at will.

They run under ``.services/chaos/<n>`` from the code that ``make run`` uses; sessions at the
same time take a folder each. Nothing of them stays when the session is over.
"""

import fcntl
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import psutil

from infra.deploy.services import postgres, rabbitmq, redis
from infra.deploy.services.daemon import Daemon, minimal_environment
from infra.deploy.services.directories import (
    CHECKOUT,
    ServerDirectory,
    find_system_user,
    write_private,
)
from infra.deploy.services.local_servers import SERVERS, start_local_servers, stop_local_servers
from infra.deploy.services.provisioning import install_missing
from tests.services import Services, make_template

FOLDER = CHECKOUT / ".services" / "chaos"
PLACES = 8
BROKER, DATABASE, CACHE = rabbitmq, postgres, redis
CONTROL_SECONDS = 60.0
CONFIG = "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 5000}]}].\n"


@dataclass(frozen=True, slots=True)
class Servers:
    """One private set, and what may be done to it; every call here blocks."""

    services: Services

    def daemon(self, server: ModuleType) -> Daemon:
        return Daemon(self.services.directory, server.NAME)

    def kill(self, server: ModuleType, how: signal.Signals = signal.SIGKILL) -> int:
        """End a server without a goodbye; returns the id of the ended process."""
        daemon = self.daemon(server)
        pid = daemon.pid()
        assert pid is not None, f"{server.NAME} did not run"
        daemon.stop(how)
        return pid

    def start(self, server: ModuleType) -> int:
        """Start a server again with its data and wait until it answers; gives its process id."""
        directory, ports = self.services.directory, self.services.ports
        daemon = server.start(directory, ports)
        daemon.wait_until(partial(server.is_ready, directory, ports))
        pid: int | None = daemon.pid()
        assert pid is not None
        return pid

    def freeze(self, server: ModuleType) -> list[psutil.Process]:
        """Stop all processes of a server where they stand, until ``thaw``."""
        pid = self.daemon(server).pid()
        assert pid is not None
        parent = psutil.Process(pid)
        frozen = [parent, *parent.children(recursive=True)]
        for process in frozen:
            process.suspend()
        return frozen

    def thaw(self, frozen: list[psutil.Process]) -> None:
        for process in frozen:
            if process.is_running():
                process.resume()

    def control(self, *words: str, tool: str = "rabbitmqctl") -> str:
        """Run a command line tool of the broker against the private node."""
        directory, ports = self.services.directory, self.services.ports
        system_user = find_system_user(rabbitmq.NAME)
        folder = directory.folder(rabbitmq.NAME, system_user)
        program = Path(rabbitmq.program() or "").with_name(tool)
        env = minimal_environment(folder) | {
            "ERL_EPMD_PORT": str(ports.epmd),
            "RABBITMQ_NODENAME": f"adrelay_{directory.tag}@localhost",
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        }
        done: subprocess.CompletedProcess[str] = subprocess.run(  # noqa: S603 - fixed words of the tests
            [str(program), *words],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=CONTROL_SECONDS,
            **system_user.popen,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@contextmanager
def open_servers() -> Iterator[Servers]:
    """Start a private set on fresh data, and remove it in the end."""
    with ExitStack() as held:
        directory = free_place(held)
        remove(directory)
        install_missing(print, tuple(SERVERS))
        _configure(directory)
        try:
            ports = start_local_servers(directory).ports
            services = Services(directory, ports, secrets.token_hex(3), 0)
            # A commit must outlive the server's process; it need not outlive the machine.
            services.execute(f"alter role {postgres.ROLE} set synchronous_commit = on")
            make_template(services)
            yield Servers(services)
        finally:
            remove(directory)


def _configure(directory: ServerDirectory) -> None:
    """Have the broker repeat after seconds what a retry tier could not deliver.

    It would wait for three minutes, and meanwhile such messages are neither ready nor in hand.
    """
    directory.prepare()
    system_user = find_system_user(rabbitmq.NAME)
    folder = directory.folder(rabbitmq.NAME, system_user)
    write_private(folder / "advanced.config", CONFIG, system_user)


def free_place(held: ExitStack) -> ServerDirectory:
    """Take a folder that no other session has, for as long as ``held`` is open."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for folder in (FOLDER.parent, FOLDER):
        folder.chmod(folder.stat().st_mode | 0o111)
    for number in range(PLACES):
        file = held.enter_context((FOLDER / f"{number}.lock").open("a"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return ServerDirectory(FOLDER / str(number), durable=False)
    raise RuntimeError("every place of chaos is taken")


def remove(directory: ServerDirectory) -> None:
    """End every server of a place, frozen or not, and delete its data."""
    for name in (rabbitmq.NAME, rabbitmq.EPMD, postgres.NAME, redis.NAME):
        pid = Daemon(directory, name).pid()
        if pid is not None:
            os.kill(pid, signal.SIGCONT)
    stop_local_servers(directory)
    directory.remove()
