"""Workers as processes of their own, to be stopped and killed."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from pydantic import SecretStr

from infra.settings import Settings

ROOT = Path(__file__).resolve().parent.parent


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """Write settings as the environment of a process."""
    values = {name: getattr(settings, name) for name in type(settings).model_fields}
    plain = {
        name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in values.items()
        if value is not None and not isinstance(value, tuple)
    }
    joined = {
        name.upper(): " ".join(value) for name, value in values.items() if isinstance(value, tuple)
    }
    return {**os.environ, **plain, **joined, **more}


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Process:
    """A Python module that runs as a process, with its probes."""

    def __init__(self, module: str, settings: Settings, **more: str) -> None:
        """Prepare; nothing runs yet."""
        self.module = module
        self.port = free_port()
        self._environment = environment(settings, PORT=str(self.port), **more)
        self._process: asyncio.subprocess.Process | None = None
        self.output = b""

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The running process."""
        assert self._process is not None
        return self._process

    async def start(self) -> None:
        """Start it; what it writes is kept."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self.module,
            cwd=ROOT,
            env=self._environment,
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )

    async def ready(self, seconds: float = 30, *, status: int = 200) -> None:
        """Wait until it says that it is ready, or answers another status."""
        async with asyncio.timeout(seconds), aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{self.port}/readyz") as answer:
                        if answer.status == status:
                            return
                except aiohttp.ClientError:
                    assert self.process.returncode is None, await self.ended()
                await asyncio.sleep(0.05)

    async def ended(self, seconds: float = 60) -> int:
        """Wait for its end; gives the exit status."""
        async with asyncio.timeout(seconds):
            _, self.output = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def stop(self) -> int:
        """Ask it to end, and wait."""
        if self.process.returncode is None:
            self.send(signal.SIGTERM)
        return await self.ended()


@asynccontextmanager
async def running(module: str, settings: Settings, **more: str) -> AsyncIterator[Process]:
    """Run a module for the length of a block; ready when the block begins."""
    process = Process(module, settings, **more)
    await process.start()
    try:
        await process.ready()
        yield process
    finally:
        if process.process.returncode is None:
            process.process.kill()
            await process.ended()
