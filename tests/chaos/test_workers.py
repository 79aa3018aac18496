"""Faults of our own processes: frozen past the heartbeat, ended in the middle of a batch."""

import asyncio
import signal

import pytest

from tests.chaos.nemesis import HEARTBEAT, Nemesis
from tests.processes import Process

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(150)]


@pytest.mark.long
async def test_workers_that_are_asked_to_end_in_the_middle_of_a_batch_finish_it(
    nemesis: Nemesis,
) -> None:
    world = nemesis.world
    codes: list[int] = []

    async def end() -> bool:
        for name in ("one", "two", "relay", "web"):
            process = world.processes[name]
            codes.append(await process.stop())
            await _again(process)
        return len(codes) == 4

    await nemesis.strike("SIGTERM of every process in turn", end)
    assert codes == [0] * 4


@pytest.mark.long
async def test_processes_that_are_killed_in_the_middle_of_a_batch_lose_nothing(
    nemesis: Nemesis,
) -> None:
    world = nemesis.world

    async def kill() -> bool:
        victims = [world.processes[name] for name in ("one", "relay", "web")]
        before = [victim.process.pid for victim in victims]
        for victim in victims:
            await victim.kill()
        await asyncio.gather(*(_again(victim) for victim in victims))
        return all(victim.process.pid != pid for victim, pid in zip(victims, before, strict=True))

    await nemesis.strike("kill -9 of worker, relay and ingress", kill)


@pytest.mark.long
@pytest.mark.parametrize("victim", ["one", "relay", "web"])
async def test_a_process_that_stands_still_for_longer_than_the_heartbeat(
    nemesis: Nemesis, victim: str
) -> None:
    world = nemesis.world
    process = world.processes[victim]

    async def freeze() -> bool:
        process.send(signal.SIGSTOP)
        try:
            # The broker closes a connection after two heartbeats without a word.
            await asyncio.sleep(HEARTBEAT * 3 + nemesis.dice.uniform(0, 2))
        finally:
            process.send(signal.SIGCONT)
        return True

    await nemesis.strike(f"SIGSTOP of {victim} past the heartbeat", freeze)


async def _again(process: Process) -> None:
    await process.start()
    await process.ready()
