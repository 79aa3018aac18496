"""Runs Python modules as processes of their own, without the second that their imports take.

One process for each test session imports what the workers and the commands import, and forks for
each module that is to run. The new process has its own process id, environment, streams, signals
and exit status, and runs its module as ``python -m`` does. A module that changes others before
they are imported runs in a new interpreter (``FRESH``), and so do the demo and the supervisor.

    python -m tests.fork_server <file descriptor of its socket>
"""

import gc
import importlib
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).resolve().parent.parent
MAX_REQUEST_BYTES = 1024 * 1024
# What the modules to be run import; a module itself is imported again each time that it runs.
PRELOADED = (
    "infra.process",
    "infra.commands.cli",
    "infra.commands.doctor.command",
    "infra.commands.topology",
    "handlers.webhooks.verify_command",
    "workers.auth",
    "workers.campaigns",
    "workers.ingress.app",
    "workers.metrics",
    "workers.relay",
    "workers.ops",
    "workers.sync",
    "tests.chaos.worker",
    "tests.infra.ledger_worker",
)
# Modules that replace functions of others before those are imported elsewhere.
FRESH = ("tests.chaos.dying",)


class Forked:
    """A process that runs a module; ``returncode`` is ``None`` while it runs."""

    def __init__(self, pid: int, status: int) -> None:
        """Take a process id, and the pipe that tells its exit status."""
        self.pid = pid
        self._status = status
        self._returncode: int | None = None

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal, as of ``subprocess``."""
        if self._returncode is None:
            with suppress(BlockingIOError):
                self._returncode = int(os.read(self._status, 16))
                os.close(self._status)
        return self._returncode

    def wait(self) -> int:
        """Block until it ends; gives the exit status."""
        if self._returncode is None:
            select.select([self._status], [], [])
        returncode = self.returncode
        assert returncode is not None
        return returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal; raises ``ProcessLookupError`` when it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)


class Client:
    """The session's side of the fork server."""

    def __init__(self) -> None:
        """Start the server."""
        self._lock = threading.Lock()
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._server = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable, "-m", "tests.fork_server", str(other.fileno())],
                cwd=ROOT,
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._server.returncode = 0  # it ends with us: nobody waits for it

    def start(
        self, module: str, *arguments: str, env: Mapping[str, str], streams: tuple[int, int, int]
    ) -> Forked:
        """Run a module with these descriptors as its standard streams."""
        request = orjson.dumps({"module": module, "arguments": arguments, "env": dict(env)})
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        with self._lock:
            socket.send_fds(self._socket, [request], [*streams, write_end])
            os.close(write_end)
            return Forked(int(self._socket.recv(16)), read_end)


_lock = threading.Lock()
_clients: list[Client] = []


def get_client() -> Client:
    """Give this session's fork server; it starts with the first module."""
    with _lock:
        if not _clients:
            _clients.append(Client())
        return _clients[0]


def run_module(
    module: str, *arguments: str, env: Mapping[str, str], given: bytes = b""
) -> "subprocess.CompletedProcess[str]":
    """Run a module to its end, as ``subprocess.run`` does; ``given`` is its standard input."""
    with (
        tempfile.TemporaryFile() as stdin,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
    ):
        stdin.write(given)
        stdin.seek(0)
        streams = (stdin.fileno(), stdout.fileno(), stderr.fileno())
        process = get_client().start(module, *arguments, env=env, streams=streams)
        returncode = process.wait()
        for file in (stdout, stderr):
            file.seek(0)
        words = [sys.executable, "-m", module, *arguments]
        return subprocess.CompletedProcess(
            words, returncode, stdout.read().decode(), stderr.read().decode()
        )


class Server:
    """Forks for each request and reports how its children end."""

    def __init__(self, requests: socket.socket) -> None:
        """Prepare; nothing runs yet."""
        self._requests = requests
        self._selector = selectors.DefaultSelector()
        self._selector.register(requests, selectors.EVENT_READ)
        self._status: dict[int, tuple[int, int]] = {}  # by pidfd: process id, pipe

    def serve(self) -> "Request | None":
        """Return the request that this process was forked for, or ``None`` at the end."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self._requests:
                    self._report(key.fd)
                    continue
                data, fds, _, _ = socket.recv_fds(self._requests, MAX_REQUEST_BYTES, 4)
                if not data:
                    return None
                request = Request(orjson.loads(data), (fds[0], fds[1], fds[2]))
                pid = os.fork()
                if pid == 0:
                    self._selector.close()
                    return request
                self._watch(pid, fds[3])
                for fd in fds[:3]:
                    os.close(fd)
                self._requests.send(str(pid).encode())

    def _watch(self, pid: int, status: int) -> None:
        descriptor = os.pidfd_open(pid)
        self._status[descriptor] = (pid, status)
        self._selector.register(descriptor, selectors.EVENT_READ)

    def _report(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)
        pid, status = self._status.pop(descriptor)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(BrokenPipeError):  # nobody waits for it
            os.write(status, str(code).encode())
        os.close(status)


@dataclass(frozen=True, slots=True)
class Request:
    """A module to be run, and the descriptors of its standard streams."""

    words: Mapping[str, Any]
    streams: tuple[int, int, int]

    def run(self) -> None:
        """Become the process that runs the module."""
        for number, descriptor in enumerate(self.streams):
            os.dup2(descriptor, number)
        os.closerange(3, max(os.sysconf("SC_OPEN_MAX"), 1024))
        os.environ.clear()
        os.environ.update(self.words["env"])
        signal.signal(signal.SIGINT, signal.default_int_handler)
        module, arguments = self.words["module"], self.words["arguments"]
        if module in FRESH:
            os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - ours
        tempfile.tempdir = None
        sys.modules.pop(module, None)
        sys.argv[1:] = arguments
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def main(descriptor: int) -> None:
    """Import, then serve until the session has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the session, and that this process
    for module in PRELOADED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    request = Server(socket.socket(fileno=descriptor)).serve()
    if request is not None:
        request.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
