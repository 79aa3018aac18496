"""Several web processes on one port: a crash, a restart and an end, and the metrics of each."""

import asyncio
import re
from collections.abc import AsyncIterator

import aiohttp
import psutil
import pytest

from infra.deploy.services.ports import is_free
from infra.process import PORTS
from infra.settings import Settings
from tests.processes import POLL, Process, free_port
from workers.ingress.share import ProcessShare

COUNT = 2
PATH = "/.well-known/jwks.json"
ANSWERED = re.compile(rf'^adrelay_http_requests_total{{.*route="{PATH}".*}} (\S+)$', re.MULTILINE)


def find_free_ports() -> int:
    """Find the first of as many free ports as there are processes."""
    while True:
        first = free_port()
        if all(is_free(first + number) for number in range(COUNT)):
            return first


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

    async def read_metrics(self) -> list[str]:
        """Read the page of every process; raises ``ClientError`` if one does not answer."""
        ports = range(self.metrics_port, self.metrics_port + COUNT)
        return [await fetch(port, "/metrics") for port in ports]

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


def runs(process: psutil.Process) -> bool:
    """Tell whether a process has not ended; who adopts an orphan may leave a zombie of it."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def fetch(port: int, path: str, status: int = 200) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        assert answer.status == status
        return await answer.text()


@pytest.fixture
async def web(settings: Settings) -> AsyncIterator[WebProcesses]:
    found = WebProcesses(settings)
    await found.process.start()
    try:
        await found.wait_for_all()
        yield found
    finally:
        if found.process.process.returncode is None:
            await found.process.kill()
        found.process.forget()


async def test_every_process_has_its_own_metrics_and_the_common_port_has_none(
    web: WebProcesses,
) -> None:
    for _ in range(40):  # each on a connection of its own
        await fetch(web.process.port, PATH)
    pages = await web.read_metrics()
    assert sum(float(found) for page in pages for found in ANSWERED.findall(page)) == 40
    await fetch(web.process.port, "/metrics", status=404)
    await fetch(web.process.port, "/readyz")


async def test_a_crash_closes_no_port_and_the_process_is_started_again(web: WebProcesses) -> None:
    killed, *_ = before = web.pids
    psutil.Process(killed).kill()
    for _ in range(40):
        await fetch(web.process.port, PATH)
    async with asyncio.timeout(60):
        while len(web.pids) < COUNT or killed in web.pids:
            await fetch(web.process.port, PATH)
    await web.wait_for_all()
    assert len(set(before) & set(web.pids)) == COUNT - 1
    assert '"a web process has ended and is started again"' in web.process.output


async def test_sigterm_ends_all_and_a_dead_supervisor_leaves_none(web: WebProcesses) -> None:
    children = [psutil.Process(pid) for pid in web.pids]
    assert await web.process.stop() == 0
    assert not any(runs(child) for child in children)
    await web.process.start()
    await web.wait_for_all()
    children = [psutil.Process(pid) for pid in web.pids]
    await web.process.kill()
    async with asyncio.timeout(30):
        while any(runs(child) for child in children):
            await asyncio.sleep(POLL)


def test_connections_to_the_database_are_divided() -> None:
    settings = Settings.model_validate({"database_pool": 10})
    assert [ProcessShare(0, n).divide(settings).database_pool for n in (1, 3, 20)] == [10, 3, 1]


def test_the_ports_of_metrics_are_no_other_process() -> None:
    first = Settings.model_validate({}).web_metrics_port
    assert first > max(port for name, port in PORTS.items() if name != "web")
