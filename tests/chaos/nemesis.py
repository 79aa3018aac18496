"""The nemesis: one fault under load, then healing, draining and every invariant.

Its seed is printed with every fault and decides when the fault strikes and how long it
lasts: ``CHAOS_SEED=<n>`` repeats a run. A fault hands over proof that it has fired.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from tests.chaos.history import Answer, Way
from tests.chaos.invariants import Findings, check
from tests.chaos.report import SEED, Report, Struck
from tests.chaos.world import World
from tests.infra.ledger import until

HEARTBEAT = 5  # seconds, as the world's settings have it
# BROKER-RULES' bound of progress after healing: three heartbeats and ten seconds.
PATIENCE = 3 * HEARTBEAT + 10.0

# Does its work, heals it, and tells whether it really happened.
Fault = Callable[[], Awaitable[bool]]


class Nemesis:
    """Strikes one fault at a time and judges what came of it."""

    def __init__(self, world: World, report: Report) -> None:
        self.world = world
        self.dice = random.Random(SEED)
        self.report = report
        self._meanwhile: float | None = None

    async def strike(
        self, name: str, fault: Fault, *, patience: float = PATIENCE, quiet: bool = False
    ) -> Findings:
        """Let the load flow, inject, heal, drain, check; gives what was found.

        ``quiet`` starts the load only after the healing. When something does not hold, the
        processes' logs are kept beside the history.
        """
        self._meanwhile = None
        try:
            return await self._strike(name, fault, patience, quiet=quiet)
        except BaseException:
            folder = self.world.keep_logs()
            self.report.say(f"CHAOS seed={SEED} fault={name!r} FAILED, history and logs: {folder}")
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
            world.longest = max(world.longest, healed - began)
            if quiet:
                await flowing.enter_async_context(world.load.flowing())
            recovery = await self._applied_from_now_on(patience)
        await world.load.insist(patience)
        await world.drained(patience)
        drained = time.monotonic() - healed
        found = await world.findings(recovery, patience)
        slowest = check(found)
        self.report.add(
            Struck(name, SEED, healed - began, self._meanwhile, recovery, drained, slowest)
        )
        self.report.say(f"CHAOS seed={SEED} fault={name!r} recovery={recovery:.1f}s {_sums(world)}")
        return found

    async def goes_on(self, seconds: float) -> None:
        """Wait, within a fault, until what is sent from now on on each way takes effect."""
        self._meanwhile = await self._applied_from_now_on(seconds)

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
        await self._applied_from_now_on(30)

    async def _applied_from_now_on(self, patience: float) -> float:
        """Wait until events that are sent on each way have taken effect; gives the seconds."""
        began, first = time.monotonic(), self.world.history.next_number
        await until(lambda: self._applied_since(first), patience)
        return time.monotonic() - began

    async def _applied_since(self, first: int) -> bool:
        """Tell whether an event of each way, from this number on, has taken effect."""
        sent = [s for s in self.world.history.sent.values() if s.number >= first]
        rows = await self.world.rows(
            "select event_id from chaos_ledger where event_id = any(:ids)",
            ids=[s.id for s in sent],
        )
        done = {row[0] for row in rows}
        return {s.way for s in sent if s.id in done} == set(Way)


def _sums(world: World) -> str:
    history = world.history
    return (
        f"{len(history.sent)} events sent: {history.count(Answer.OK)} confirmed,"
        f" {history.count(Answer.REFUSED)} refused, {history.count(Answer.UNKNOWN)} unanswered"
        f" (the fault took it; sent again, as a client does: {history.resent})"
    )
