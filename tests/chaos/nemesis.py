"""The nemesis: one fault under load, then healing, draining and every invariant.

Its seed is printed with every fault and decides when the fault strikes and how long it
lasts: ``CHAOS_SEED=<n>`` repeats a run. A fault hands over proof that it has fired.
"""

import asyncio
import os
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from tests.chaos.history import Answer, Way
from tests.chaos.invariants import Findings, check
from tests.chaos.world import World
from tests.infra.ledger import until

SEED = int(os.environ.get("CHAOS_SEED", secrets.randbelow(10**6)))
HEARTBEAT = 5  # seconds, as the world's settings have it
# BROKER-RULES' bound of progress after healing: three heartbeats and ten seconds.
PATIENCE = 3 * HEARTBEAT + 10.0

# Does its work, heals it, and tells whether it really happened.
Fault = Callable[[], Awaitable[bool]]


class Nemesis:
    """Strikes one fault at a time and judges what came of it."""

    def __init__(self, world: World, record: Callable[[str], None]) -> None:
        self.world = world
        self.dice = random.Random(SEED)
        self._record = record

    async def strike(
        self, name: str, fault: Fault, *, patience: float = PATIENCE, quiet: bool = False
    ) -> Findings:
        """Let the load flow, inject, heal, drain, check; gives what was found.

        ``quiet`` starts the load only after the healing. When something does not hold, the
        processes' logs are kept beside the history.
        """
        try:
            return await self._strike(name, fault, patience, quiet=quiet)
        except BaseException:
            folder = self.world.keep_logs()
            self._record(f"CHAOS seed={SEED} fault={name!r} FAILED, history and logs: {folder}")
            raise

    async def _strike(self, name: str, fault: Fault, patience: float, *, quiet: bool) -> Findings:
        world = self.world
        await self._take_base()
        async with AsyncExitStack() as flowing:
            if not quiet:
                await flowing.enter_async_context(world.load.flowing())
                await self._flow_is_seen()
                await asyncio.sleep(self.dice.uniform(0.05, 0.5))  # Where it strikes is chance.
            began = time.monotonic()
            assert await fault(), f"the fault did not fire: {name}"
            healed = time.monotonic()
            if quiet:
                await flowing.enter_async_context(world.load.flowing())
            recovery = await self._recover(healed, patience)
        await world.load.insist(patience)
        await world.drained(patience)
        found = await world.findings(recovery, patience)
        self._record(
            f"CHAOS seed={SEED} fault={name!r} lasted={healed - began:.1f}s"
            f" recovery={recovery:.1f}s sent={len(world.history.sent)}"
            f" ok={world.history.count(Answer.OK)}"
            f" refused={world.history.count(Answer.REFUSED)}"
            f" unknown={world.history.count(Answer.UNKNOWN)} resent={world.history.resent}"
        )
        check(found)
        return found

    async def _take_base(self) -> None:
        """Measure what the processes take when warm and idle: once, after a first load."""
        world = self.world
        if world.base:
            return
        async with world.load.flowing():
            await self._flow_is_seen()
        await world.drained(PATIENCE)
        world.base = world.footprints()

    async def _flow_is_seen(self) -> None:
        first = self.world.history.next_number
        await until(lambda: self.applied_since(first))

    async def _recover(self, healed: float, patience: float) -> float:
        """Wait until events that were sent after the healing on each way have taken effect."""
        first = self.world.history.next_number
        await until(lambda: self.applied_since(first), patience)
        return time.monotonic() - healed

    async def applied_since(self, first: int) -> bool:
        """Tell whether an event of each way, from this number on, has taken effect."""
        sent = [s for s in self.world.history.sent.values() if s.number >= first]
        rows = await self.world.rows(
            "select event_id from chaos_ledger where event_id = any(:ids)",
            ids=[s.id for s in sent],
        )
        done = {row[0] for row in rows}
        return {s.way for s in sent if s.id in done} == set(Way)


def recorder(config: pytest.Config) -> Callable[[str], None]:
    """Write past pytest's capture, so that the seed is seen even when all is well."""

    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    assert reporter is not None
    assert capture is not None

    def write(line: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.write_line("")
            reporter.write_line(line)

    return write
