"""Several web processes on one port, as ``WEB_PROCESSES`` starts them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import psutil

from infra.deploy.services.ports import is_free
from infra.settings import Settings
from tests.processes import POLL, Process, free_port

COUNT = 2


def find_free_ports() -> int:
    """Find the first of as many free ports as there are processes."""
    while True:
        first = free_port()
        if all(is_free(first + number) for number in range(COUNT)):
            return first


async def fetch(port: int, path: str, status: int = 200) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        assert answer.status == status
        return await answer.text()


class WebProcesses:
    """A supervisor with its processes."""

    def __init__(self, settings: Settings) -> None:
        self.metrics_port = find_free_ports()
        first = str(self.metrics_port)
        self.process = Process(
            "workers.ingress", settings, 0, WEB_PROCESSES=str(COUNT), WEB_METRICS_PORT=first
        )

    @property
    def pids(self) -> list[int]:
        supervisor = psutil.Process(self.process.process.pid)
        return sorted(child.pid for child in supervisor.children())

    @property
    def metrics_ports(self) -> list[int]:
        return [self.metrics_port + number for number in range(COUNT)]

    async def read_metrics(self) -> list[str]:
        """Read the page of every process; raises ``ClientError`` if one does not answer."""
        return [await fetch(port, "/metrics") for port in self.metrics_ports]

    async def wait_for_all(self, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    await self.read_metrics()
                except aiohttp.ClientError:
                    assert self.process.process.returncode is None, self.process.output
                    await asyncio.sleep(POLL)
                else:
                    return


@asynccontextmanager
async def running_web_processes(settings: Settings) -> AsyncIterator[WebProcesses]:
    """Start them for the length of a block, which begins when all serve."""
    found = WebProcesses(settings)
    await found.process.start()
    try:
        await found.wait_for_all()
        yield found
    finally:
        if found.process.process.returncode is None:
            await found.process.kill()
        found.process.forget()
