"""wrk keeps two web processes busy with signed webhooks while they are restarted, and one dies."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from infra.security.hmac_signature import sign_body
from infra.settings import Settings
from tests.bench.events import webhook
from tests.bench.tools import need
from tests.processes import POLL
from tests.workers.ingress.web_processes import COUNT, WebProcesses, running_web_processes

CONNECTIONS = 32
RESTARTS = 2


@dataclass
class Load:
    """What wrk has said at its end."""

    said: str = ""

    def count(self, what: str) -> int:
        """Read a number that follows a word; 0 where it is not mentioned."""
        found = re.search(rf"{what}:? (\d+)", self.said)
        return int(found[1]) if found else 0

    @property
    def requests(self) -> int:
        found = re.search(r"(\d+) requests in", self.said)
        assert found is not None, self.said
        return int(found[1])


@asynccontextmanager
async def posting(web: WebProcesses, secret: str, folder: Path) -> AsyncIterator[Load]:
    """Post a webhook again and again on connections that stay open, for the length of a block."""
    body, script = webhook(1), folder / "post.lua"
    headers = {"Content-Type": "application/json", "X-Claude-Signature": sign_body(secret, body)}
    lines = ['wrk.method = "POST"', f"wrk.body = {json.dumps(body.decode())}"]
    lines += [f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}" for k, v in headers.items()]
    script.write_text("\n".join(lines) + "\n")
    words = ("-t", "1", "-c", str(CONNECTIONS), "-d", "600s", "--timeout", "60s", "-s", str(script))
    url = f"http://127.0.0.1:{web.process.port}/webhooks/claude"
    wrk = await asyncio.create_subprocess_exec("wrk", *words, url, stdout=asyncio.subprocess.PIPE)
    load = Load()
    try:
        yield load
    finally:
        wrk.send_signal(signal.SIGINT)  # it stops and prints what it counted
        said, _ = await wrk.communicate()
        load.said = said.decode()


async def restart(web: WebProcesses) -> None:
    """Restart all as the documentation says; returns when no earlier process is left."""
    before = set(web.pids)
    web.process.send(signal.SIGHUP)
    async with asyncio.timeout(240):
        while before & set(web.pids) or len(web.pids) < COUNT:
            await asyncio.sleep(POLL)
    await web.wait_for_all(240)


@pytest.fixture(scope="module", autouse=True)
def _wrk() -> None:
    need("wrk", print)


@pytest.fixture
def secret(settings: Settings) -> str:
    return settings.platform("claude").webhook_secrets[0]


@pytest.fixture
async def web(settings: Settings) -> AsyncIterator[WebProcesses]:
    async with running_web_processes(settings) as found:
        yield found


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_restart_refuses_no_connection_and_fails_no_request(
    web: WebProcesses, secret: str, tmp_path: Path
) -> None:
    async with posting(web, secret, tmp_path) as load:
        for _ in range(RESTARTS):
            await restart(web)
    assert load.requests > CONNECTIONS
    assert "Non-2xx" not in load.said, load.said
    assert "Socket errors" not in load.said, load.said


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_process_that_dies_closes_the_port_for_nobody(
    web: WebProcesses, secret: str, tmp_path: Path
) -> None:
    killed, *_ = web.pids
    async with posting(web, secret, tmp_path) as load:
        await asyncio.sleep(1)
        psutil.Process(killed).kill()
        async with asyncio.timeout(240):
            while len(web.pids) < COUNT or killed in web.pids:
                await asyncio.sleep(POLL)
        await web.wait_for_all(240)
    # What it had in hand is broken off on its own connections, and the sender repeats it.
    assert load.count("connect") == 0, load.said
    assert load.count("timeout") == 0, load.said
    assert load.count("read") <= CONNECTIONS, load.said
    assert "Non-2xx" not in load.said, load.said
