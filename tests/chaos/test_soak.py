"""Ten minutes at half of what it can do, a worker restarted every twenty seconds.

``CHAOS_SOAK_SECONDS`` makes it shorter or longer.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from itertools import cycle
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chaos.history import Answer, Way
from tests.chaos.invariants import check
from tests.chaos.nemesis import PATIENCE
from tests.chaos.report import SEED, Report, Struck
from tests.chaos.servers import Servers
from tests.chaos.world import World, open_world
from tests.infra.ledger import until
from tests.processes import Process
from tests.services import open_settings

SECONDS = float(os.environ.get("CHAOS_SOAK_SECONDS", "600"))
EVERY = 20.0  # seconds between two restarts
RESTARTS = int(SECONDS / EVERY)
BACKLOG = 20_000  # events whose draining is measured
SETTLE = 120.0  # seconds

pytestmark = [
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(SECONDS + 4 * SETTLE),
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def busy(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A system of its own, so that its footprint is that of the soak alone."""
    folder: Path = tmp_path_factory.mktemp("soak")
    with open_settings(servers.services, "soak") as settings:
        async with open_world(settings, servers, folder, CHAOS_BATCH="500") as world:
            yield world


async def test_minutes_of_work_and_restarts_lose_nothing_and_grow_nothing(
    busy: World, chaos_report: Report
) -> None:
    world = busy
    async with world.counting_caused():
        rate = await _measured(world)
        world.base = world.footprints()
        chaos_report.say(
            f"CHAOS soak: drains {rate:.0f}/s, so {rate / 2:.0f}/s for {SECONDS:.0f} s"
        )
        began = time.monotonic()
        async with world.load.streaming(rate / 2), world.load.flowing(Way.HTTP):
            await _restart(world, began)
        lasted = time.monotonic() - began
        await world.load.insist(PATIENCE)
        recovery = await _drained(world)
        drained = time.monotonic() - began - lasted
    found = await world.findings(recovery, SETTLE)
    for name, after in found.after.items():
        chaos_report.say(f"CHAOS soak: {name} {_mib(world.base[name].rss)} -> {_mib(after.rss)}")
    sent, ok = len(world.history.sent), world.history.count(Answer.OK)
    chaos_report.say(f"CHAOS soak: sent={sent} ok={ok} applied={len(found.applied)}")
    slowest = check(found)
    name = f"soak: {RESTARTS} restarts at {rate / 2:.0f} events/s"
    chaos_report.add(Struck(name, SEED, lasted, None, recovery, drained, slowest))
    assert sent >= SECONDS * rate / 2


async def _measured(world: World) -> float:
    """Tell how many events a second are sent and brought to their end, the outbox's included."""
    began = time.monotonic()
    await world.load.burst(Way.AMQP, BACKLOG)
    await _drained(world)
    return BACKLOG / (time.monotonic() - began)


async def _restart(world: World, began: float) -> None:
    """End one of the workers every so often, asked and unasked in turn."""
    turns = cycle([("one", False), ("two", True), ("two", False), ("one", True)])
    for number, (name, kill) in zip(range(1, RESTARTS + 1), turns, strict=False):
        await asyncio.sleep(max(0.0, began + number * EVERY - time.monotonic()))
        worker = world.processes[name]
        if kill:
            await worker.kill()
        else:
            assert await worker.stop() == 0
        await _again(worker)


async def _drained(world: World) -> float:
    """Wait until nothing is on its way; gives the seconds."""
    began = time.monotonic()
    await world.drained(SETTLE)
    await until(lambda: _all_seen(world), SETTLE)
    return time.monotonic() - began


async def _all_seen(world: World) -> bool:
    return await world.count("select count(*) from chaos_ledger") <= len(world.caused)


async def _again(process: Process) -> None:
    await process.start()
    await process.ready()


def _mib(count: int) -> str:
    return f"{count / 1024**2:.0f} MiB"
