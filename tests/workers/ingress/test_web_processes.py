"""Several web processes on one port: a crash, a restart and an end, and the metrics of each."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from infra.deploy.services import prometheus
from infra.deploy.services.directories import ServerDirectory
from infra.deploy.services.ports import NAMES, Ports
from infra.health import TARGETS_PATH
from infra.http.client import open_session
from infra.process import PORTS
from infra.settings import Settings
from tests.processes import POLL, free_port
from tests.workers.ingress.web_processes import (
    COUNT,
    WebProcesses,
    fetch,
    running_web_processes,
)
from workers.ingress.share import ProcessShare
from workers.ops.processes import ProcessMonitor

PATH = "/.well-known/jwks.json"
ANSWERED = re.compile(rf'^adrelay_http_requests_total{{.*route="{PATH}".*}} (\S+)$', re.MULTILINE)


def runs(process: psutil.Process) -> bool:
    """Tell whether a process has not ended; who adopts an orphan may leave a zombie of it."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
async def web(settings: Settings) -> AsyncIterator[WebProcesses]:
    async with running_web_processes(settings) as found:
        yield found


async def test_every_process_has_its_own_metrics_and_the_common_port_has_none(
    web: WebProcesses,
) -> None:
    for _ in range(40):  # each on a connection of its own
        await fetch(web.process.port, PATH)
    pages = await web.read_metrics()
    assert sum(float(found) for page in pages for found in ANSWERED.findall(page)) == 40
    await fetch(web.process.port, "/metrics", status=404)
    await fetch(web.process.port, "/readyz")
    (group,) = json.loads(await fetch(web.process.port, TARGETS_PATH))
    assert group["targets"] == [f"127.0.0.1:{port}" for port in web.metrics_ports]


async def test_the_console_asks_every_process(web: WebProcesses, settings: Settings) -> None:
    urls = (f"web=http://127.0.0.1:{web.process.port}",)
    monitor = ProcessMonitor(settings.model_copy(update={"process_urls": urls}))
    async with open_session(30) as session:
        reports = await monitor.read(session)
    assert [report.address for report in reports] == [
        f"127.0.0.1:{port}" for port in web.metrics_ports
    ]
    assert all(report.commit and not report.trouble for report in reports), reports


async def test_prometheus_finds_and_scrapes_every_process(
    web: WebProcesses, tmp_path: Path
) -> None:
    directory = ServerDirectory(tmp_path, durable=False)
    directory.prepare()
    ports = Ports(**dict.fromkeys(NAMES, 0) | {"prometheus": free_port()})
    try:
        daemon = prometheus.start(directory, ports, {"web": web.process.port}, {}, "2s")
        await asyncio.to_thread(prometheus.wait, daemon, ports)
        wanted = {f"127.0.0.1:{port}": "1" for port in web.metrics_ports}
        async with asyncio.timeout(100):
            while await read_up(ports.prometheus) != wanted:
                await asyncio.sleep(POLL)
    finally:
        prometheus.stop(directory)


async def read_up(port: int) -> dict[str, str]:
    """Ask Prometheus which pages of the ingress it has read, by their addresses."""
    async with aiohttp.ClientSession() as session:
        query = {"query": 'up{job="web"}'}
        async with session.get(f"http://127.0.0.1:{port}/api/v1/query", params=query) as answer:
            found = (await answer.json())["data"]["result"] if answer.ok else []
    return {item["metric"]["instance"]: item["value"][1] for item in found}


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
