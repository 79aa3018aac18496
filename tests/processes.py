"""Runs workers as processes of their own, which tests stop and kill."""

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from infra.amqp.permissions import CONSOLE_USER, INGRESS_USER
from infra.settings import Settings
from tests.fork_server import Forked, get_client
from tests.services import as_user, environment

ROOT = Path(__file__).resolve().parent.parent
POLL = 0.02  # seconds
# Users of their own, as in an installation.
USERS = {"workers.ingress": INGRESS_USER, "workers.ops": CONSOLE_USER}


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Process:
    """A Python module that runs as a process, with its probes."""

    def __init__(self, module: str, settings: Settings, port: int = 0, **more: str) -> None:
        """Prepare; nothing runs yet. Without a ``port`` it listens on a free one."""
        self.module = module
        self.port = port or free_port()
        if module in USERS:
            settings = as_user(USERS[module], settings)
        self._environment = {**environment(settings), "PORT": str(self.port), **more}
        self._process: Forked | None = None
        # A file, because a pipe that nobody reads would stop the process.
        self._log = Path(tempfile.gettempdir()) / f"adrelay-test-{module}-{self.port}.log"

    @property
    def process(self) -> Forked:
        """The running process."""
        assert self._process is not None
        return self._process

    async def start(self) -> None:
        """Start it; what it writes is kept."""
        self._process = await asyncio.to_thread(self._fork)

    def _fork(self) -> Forked:
        with self._log.open("ab") as log, Path(os.devnull).open("r+b") as null:
            streams = (null.fileno(), null.fileno(), log.fileno())
            return get_client().start(self.module, env=self._environment, streams=streams)

    async def ready(self, seconds: float = 30, *, status: int = 200) -> None:
        """Wait until it says that it is ready, or answers another status."""
        async with asyncio.timeout(seconds), aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{self.port}/readyz") as answer:
                        if answer.status == status:
                            return
                except aiohttp.ClientError:
                    assert self.process.returncode is None, self.output
                await asyncio.sleep(POLL)

    async def ended(self, seconds: float = 60) -> int:
        """Wait for its end; gives the exit status."""
        async with asyncio.timeout(seconds):
            while (status := self.process.returncode) is None:
                await asyncio.sleep(POLL)
        return status

    @property
    def output(self) -> str:
        """What it has written to standard error since it was first started."""
        return self._log.read_text(errors="replace")

    def forget(self) -> None:
        """Remove what it has written."""
        self._log.unlink(missing_ok=True)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def kill(self) -> None:
        """End it without a chance to do anything."""
        self.send(signal.SIGKILL)
        await self.ended()

    async def stop(self) -> int:
        """Ask it to end, and wait."""
        if self.process.returncode is None:
            self.send(signal.SIGTERM)
        return await self.ended()


@asynccontextmanager
async def running(module: str, settings: Settings, **more: str) -> AsyncIterator[Process]:
    """Run a module for the length of a block; ready when the block begins."""
    process = Process(module, settings, 0, **more)
    await process.start()
    try:
        await process.ready()
        yield process
    finally:
        if process.process.returncode is None:
            await process.kill()
        process.forget()
