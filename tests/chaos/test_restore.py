"""The database is lost, or its standby lagged: the event log gives back what is missing.

``RESTORE_RATE`` is the load in events a second, ``RESTORE_SECONDS`` how long what is lost flows.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
import pytest_asyncio
from pydantic import SecretStr

from infra.settings import Settings
from tests.chaos.backup import Backup
from tests.chaos.history import Way
from tests.chaos.invariants import check
from tests.chaos.nemesis import PATIENCE
from tests.chaos.pair import Pair, open_pair, port_of
from tests.chaos.patience import Patience
from tests.chaos.report import SEED, Report, Struck
from tests.chaos.servers import DATABASE, Servers, open_servers
from tests.chaos.world import World, open_world
from tests.infra.ledger import until
from tests.processes import Process
from tests.proxy import Proxy, open_proxy
from tests.services import open_settings

RATE = float(os.environ.get("RESTORE_RATE", "1000"))
SECONDS = float(os.environ.get("RESTORE_SECONDS", "10"))
SETTLE = 120.0  # seconds
LOOKS = 3  # that find nothing on its way, a second apart: a retry may be in hand at one of them
WORKERS = ("relay", "one", "two")
POSITION = "select count(*) from log_positions where reader = 'restore'"
LEDGER = "select count(*) from chaos_ledger"

pytestmark = [
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(4 * SETTLE),
]


@pytest.fixture(scope="module")
def own_servers() -> Iterator[Servers]:
    with open_servers() as servers:
        yield servers


@pytest.fixture(scope="module")
def own_settings(own_servers: Servers) -> Iterator[Settings]:
    with open_settings(own_servers.services, "restore") as settings:
        yield settings


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_world(
    own_servers: Servers, own_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("restore")
    async with open_world(own_settings, own_servers, folder, CHAOS_BATCH="500") as world:
        yield world


async def test_what_a_backup_lacks_comes_back_from_the_log(
    own_world: World, chaos_report: Report
) -> None:
    await _lose_and_restore(own_world, chaos_report, "Postgres lost, backup and log", kills=0)


async def test_a_restore_that_is_killed_goes_on(own_world: World, chaos_report: Report) -> None:
    await _lose_and_restore(own_world, chaos_report, "Postgres lost, restore killed", kills=1)


async def test_what_a_promoted_standby_lacks_comes_back_from_the_log(
    own_servers: Servers, tmp_path_factory: pytest.TempPathFactory, chaos_report: Report
) -> None:
    folder = tmp_path_factory.mktemp("standby")
    with open_pair() as pair, open_settings(own_servers.services, "standby") as settings:
        async with open_proxy(SecretStr(pair.url(pair.primary))) as proxy:
            there = settings.model_copy(update={"database_url": proxy.url()})
            async with open_world(there, own_servers, folder, CHAOS_BATCH="500") as world:
                await _fail_over_and_restore(world, pair, proxy, chaos_report)


async def _lose_and_restore(world: World, report: Report, name: str, *, kills: int) -> None:
    backup = Backup(world.servers)
    async with world.counting_caused():
        await _take_base(world)
        async with _streaming(world, report):
            await _next_mark(world)
            await asyncio.to_thread(backup.take)
            await asyncio.sleep(SECONDS)
            had = await world.count(LEDGER)
            began = time.monotonic()
            await asyncio.to_thread(backup.lose_data)
            await _stop_workers(world)
        await asyncio.to_thread(backup.put_back)
        lost = had - await world.count(LEDGER)
        await _restore(world, report, name, began, lost, kills)


async def _fail_over_and_restore(world: World, pair: Pair, proxy: Proxy, report: Report) -> None:
    async with world.counting_caused():
        await _take_base(world)
        async with _streaming(world, report):
            await _next_mark(world)
            await asyncio.to_thread(pair.let_lag)
            await asyncio.sleep(SECONDS)
            had = await world.count(LEDGER)
            began = time.monotonic()
            await asyncio.to_thread(pair.primary.kill, DATABASE)
            await _stop_workers(world)
        await asyncio.to_thread(pair.promote_standby)
        proxy.lead_to("127.0.0.1", port_of(pair.standby))
        lost = had - await world.count(LEDGER)
        await _restore(world, report, "Postgres failover to a standby that lagged", began, lost, 0)


async def _take_base(world: World) -> None:
    """Measure what the processes take when warm and idle."""
    async with world.load.flowing():
        await asyncio.sleep(2)
    await world.load.insist(PATIENCE)
    await world.drained(SETTLE)
    world.base = world.footprints()


@asynccontextmanager
async def _streaming(world: World, report: Report) -> AsyncIterator[None]:
    """Publish for the length of a block, and say how fast that really was."""
    began, first = time.monotonic(), world.history.next_number
    async with world.load.streaming(RATE):
        yield
    rate = (world.history.next_number - first) / (time.monotonic() - began)
    report.say(f"CHAOS restore: {rate:.0f} events/s were published of {RATE:.0f}")


async def _next_mark(world: World) -> None:
    """Wait until the relay has marked the log once more."""
    marks = "select count(*) from log_marks"
    before = await world.count(marks)
    await until(lambda: _is_more(world, marks, before), 40)


async def _is_more(world: World, query: str, before: int) -> bool:
    return await world.count(query) > before


async def _stop_workers(world: World) -> None:
    """Stop all but the ingress, as the procedure says."""
    await asyncio.gather(*(world.processes[name].stop() for name in WORKERS))


async def _restore(
    world: World, report: Report, name: str, began: float, lost: int, kills: int
) -> None:
    """Restore while the ingress goes on, let the workers go on, and check every invariant."""
    assert lost > RATE, lost  # more than a second of work, however busy the machine is
    async with world.load.flowing(Way.HTTP):
        for _ in range(kills):
            await _kill_in_the_middle(world)
        result = await _run(world)
    rate = result["read"] / result["seconds"]
    queues = result["queues"]["metrics.record"]
    report.say(
        f"CHAOS restore: {name}: {lost} effects lost, {result['read']} events read in"
        f" {result['seconds']:.1f} s ({rate:.0f}/s), {queues}"
    )
    assert queues["handled"] >= lost if not kills else queues["handled"] > 0
    healed = time.monotonic()
    await asyncio.gather(*(_again(world.processes[worker]) for worker in WORKERS))
    world.longest = max(world.longest, healed - began)
    async with world.load.flowing():
        first = world.history.next_number
        await until(lambda: _applied_since(world, first), PATIENCE)
        recovery = time.monotonic() - healed
    await world.load.insist(PATIENCE)
    await _drained(world)
    drained = time.monotonic() - healed
    try:
        slowest = check(await world.findings(recovery, SETTLE))
    except BaseException:
        report.say(f"CHAOS restore: {name} FAILED, history and logs: {world.keep_logs()}")
        raise
    report.add(Struck(name, SEED, healed - began, None, recovery, drained, slowest))
    assert await world.count("select count(*) from pauses") == 0


async def _drained(world: World) -> None:
    """Wait until nothing is on its way, nor second copies of what is at its end already."""
    for _ in range(LOOKS):
        await until(world.nothing_in_hand, SETTLE)
        await world.drained(SETTLE)
        await asyncio.sleep(1)
    await until(lambda: _all_seen(world), SETTLE)


async def _run(world: World) -> dict[str, Any]:
    """Run a restore to its end; gives what it reports."""
    process = Process("tests.chaos.restoring", world.settings)
    await process.start()
    patience = Patience(SETTLE)
    while process.process.returncode is None:
        assert patience.lasts(-await _read_position(world)), process.output
        await asyncio.sleep(1)
    status = process.process.returncode
    lines = [orjson.loads(line) for line in process.output.splitlines()]
    results = [line for line in lines if line.get("kind") == "result"]
    assert status == 0, process.output
    process.forget()
    result: dict[str, Any] = results[-1]
    return result


async def _kill_in_the_middle(world: World) -> None:
    """Kill a restore once it has got a little further."""
    before = await _read_position(world)
    process = Process("tests.chaos.restoring", world.settings)
    await process.start()

    async def has_begun() -> bool:
        assert process.process.returncode is None, process.output
        return await _read_position(world) > before

    await until(has_begun, SETTLE)
    await process.kill()
    assert process.process.returncode == -9
    assert await world.count(POSITION) == 1
    process.forget()


async def _read_position(world: World) -> int:
    query = "select coalesce(max(next_offset), 0) from log_positions where reader = 'restore'"
    return await world.count(query)


async def _again(process: Process) -> None:
    await process.start()
    await process.ready(60)


async def _applied_since(world: World, first: int) -> bool:
    sent = [s.id for s in world.history.sent.values() if s.number >= first]
    query = "select count(*) from chaos_ledger where event_id = any(:ids)"
    return int((await world.rows(query, ids=sent))[0][0]) > 0


async def _all_seen(world: World) -> bool:
    return await world.count(LEDGER) <= len(world.caused)
