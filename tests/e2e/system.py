"""The whole system: every Procfile process and the sandbox, each a process to be killed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aiohttp
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp import topology
from infra.settings import Settings
from tests.infra.ledger import depth
from tests.processes import Process, free_port

MODULES = {
    "web": "workers.ingress",
    "auth": "workers.auth",
    "campaigns": "workers.campaigns",
    "sync": "workers.sync",
    "metrics": "workers.metrics",
    "relay": "workers.relay",
    "ops": "workers.ops",
}
SANDBOX = "infra.sandbox"
PASSWORD = "correct horse battery staple"


class System:
    """Running processes, and a client of the API."""

    def __init__(self, processes: dict[str, Process], http: aiohttp.ClientSession) -> None:
        """Hold what was started."""
        self.processes = processes
        self.http = http
        self.url = f"http://127.0.0.1:{processes['web'].port}"
        self.sandbox = f"http://127.0.0.1:{processes['sandbox'].port}"
        self.token = ""

    async def call(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        """Call the API as the logged-in user; gives status and JSON."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        async with self.http.request(method, self.url + path, json=body, headers=sent) as answer:
            return answer.status, await answer.json(content_type=None)

    async def register(self) -> None:
        """Make an account and act in its name."""
        account = {"email": f"{uuid4().hex}@example.com", "password": PASSWORD}
        status, answer = await self.call("POST", "/api/v1/auth/register", account)
        assert status == 201, answer
        self.token = answer["data"]["access_token"]

    async def kill(self, name: str) -> None:
        """Kill a process in the middle of what it does, and start it again."""
        process = self.processes[name]
        await process.kill()
        await process.start()
        await process.ready()


@asynccontextmanager
async def running_system(settings: Settings) -> AsyncIterator[System]:
    """Run everything for the length of a block."""
    sandbox_port, ports = free_port(), {name: free_port() for name in MODULES}
    sandbox = f"http://127.0.0.1:{sandbox_port}"
    own = settings.model_copy(
        update={
            "claude_url": f"{sandbox}/claude",
            "chatgpt_url": f"{sandbox}/chatgpt",
            "gemini_url": f"{sandbox}/gemini",
            "adrelay_url": f"http://127.0.0.1:{ports['web']}",
            "process_urls": tuple(f"{n}=http://127.0.0.1:{p}" for n, p in ports.items()),
            "sandbox_metrics_seconds": 0,
            "sandbox_status_seconds": 0,
            "outbox_lease": 5.0,  # a killed relay is waited for no longer
        }
    )
    processes = {name: Process(module, own, ports[name]) for name, module in MODULES.items()}
    processes["sandbox"] = Process(SANDBOX, own, sandbox_port)
    await asyncio.gather(*(process.start() for process in processes.values()))
    try:
        await asyncio.gather(*(process.ready(60) for process in processes.values()))
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
            yield System(processes, http)
    finally:
        for process in processes.values():
            if process.process.returncode is None:
                await process.kill()
            process.forget()


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    """Wait until a condition holds; fails after ``seconds``."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.1)


async def settled(engine: AsyncEngine, broker: AbstractConnection) -> bool:
    """Tell whether nothing is on its way: no message, no outbox row, nothing dead."""
    queues = [*topology.WORK_QUEUE_NAMES, *map(topology.retry_exchange, topology.RETRY_TIERS)]
    waiting = await asyncio.gather(*(depth(broker, queue) for queue in queues))
    async with engine.connect() as connection:
        rows = (await connection.execute(text("select count(*) from outbox"))).scalar_one()
    return rows == 0 and not any(waiting)
