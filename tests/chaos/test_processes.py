"""Two processes of every worker at once: each change once, and the newest at the platform."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.settings import Settings
from tests.e2e.system import MODULES, System, eventually, running_system, settled
from tests.infra.ledger import count
from tests.processes import Process

pytestmark = [pytest.mark.long, pytest.mark.timeout(200)]

CAMPAIGNS = 8
CHANGES = 12


@asynccontextmanager
async def twins(system: System, settings: Settings) -> AsyncIterator[list[Process]]:
    """Run a second process of every worker beside those of the system."""
    own = settings.model_copy(
        update={
            f"{platform}_url": f"{system.sandbox}/{platform}"
            for platform in ("claude", "chatgpt", "gemini")
        }
    )
    modules = [module for name, module in MODULES.items() if name != "web"]
    processes = [Process(module, own) for module in modules]
    await asyncio.gather(*(process.start() for process in processes))
    try:
        await asyncio.gather(*(process.ready(60) for process in processes))
        yield processes
    finally:
        for process in processes:
            await process.kill()
            process.forget()


async def test_two_of_every_worker_agree_on_each_campaign(
    settings: Settings, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    async with running_system(settings) as system, twins(system, settings) as beside:
        await system.register()
        ids = await asyncio.gather(*(_create(system, number) for number in range(CAMPAIGNS)))
        await asyncio.gather(*(_change(system, id_) for id_ in ids))
        await eventually(lambda: settled(engine, broker), 90)
        await eventually(lambda: _synced(engine), 60)
        await _check(engine, system, ids)
        assert all(process.process.returncode is None for process in beside)


async def _create(system: System, number: int) -> str:
    body = {
        "name": f"campaign {number}",
        "budget": 10,
        "platform": "claude",
        "targeting": {"interests": ["books"], "age_range": [18, 40]},
    }
    key = {"Idempotency_Key": f'"{uuid4().hex}"'}
    status, answer = await system.call("POST", "/api/v1/campaigns", body, **key)
    assert status in (201, 202), answer
    identity: str = answer["data"]["id"]
    await eventually(lambda: _exists(system, identity))
    return identity


async def _change(system: System, identity: str) -> None:
    """Ask for changes at once; the two processes decide in which order they come."""

    async def ask(number: int) -> None:
        body: dict[str, Any] = {"name": f"{identity} {number}", "budget": 10 + number}
        path = f"/api/v1/campaigns/{identity}"
        status, answer = await system.call("PATCH", path, body, If_Match="*")
        assert status in (200, 202), answer

    await asyncio.gather(*(ask(number) for number in range(1, CHANGES + 1)))


async def _exists(system: System, identity: str) -> bool:
    status, _ = await system.call("GET", f"/api/v1/campaigns/{identity}")
    return status == 200


async def _synced(engine: AsyncEngine) -> bool:
    behind = "select count(*) from campaigns where synced_version < desired_version"
    return await count(engine, behind) == 0


async def _check(engine: AsyncEngine, system: System, ids: list[str]) -> None:
    async with engine.connect() as connection:
        query = text("select id, name, version from campaigns")
        rows = {str(row.id): row for row in await connection.execute(query)}
    async with system.http.get(f"{system.sandbox}/_control/claude/campaigns") as answer:
        held = await answer.json()
    # Each change is there once, and the platform holds what stands at the end, each once.
    names = sorted(campaign["desired"]["name"] for campaign in held)
    assert names == sorted(row.name for row in rows.values())
    assert sorted(rows) == sorted(ids)
    assert all(row.version >= 1 + CHANGES for row in rows.values())
    done = "select count(*) from operations where state = 'done'"
    assert await count(engine, done) == CAMPAIGNS * (1 + CHANGES)
    assert await count(engine, "select count(*) from dead_letters") == 0
