"""A sync worker that stands still for longer than its lease does no harm when it wakes."""

import asyncio
import signal
from dataclasses import replace

import psutil
import pytest

from handlers.sync.pusher import LEASE_SECONDS
from tests.chaos.dying import trace_of
from tests.chaos.stage import Stage
from tests.handlers.samples import put, saved, stored
from tests.handlers.syncing import leased, write
from tests.infra.ledger import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]

MODULE, POINT = "workers.sync", "lease-push"
ASKED = "select count(*) from outbox where routing_key like 'campaign.sync_requested.v1%'"


async def test_a_sync_worker_that_wakes_after_its_lease_pushes_no_old_version(
    stage: Stage,
) -> None:
    engine, book = stage.resources.engine, stage.platforms.states["claude"]
    campaign = stored()
    newest = replace(campaign, name="Winter", version=2, desired_version=2)
    await put(engine, campaign)
    await stage.publish([saved(campaign)])
    async with stage.dying(MODULE, POINT, 1, signal.SIGSTOP) as frozen:
        await until(lambda: _stands_still(frozen.process.pid))
        assert trace_of(POINT, 1) in frozen.output
        assert await leased(engine) == 1
        await write(engine, newest)
        async with stage.healthy(MODULE):
            await stage.publish([saved(newest)])
            await until(lambda: _holds(stage, "Winter"), LEASE_SECONDS + 20)
            frozen.send(signal.SIGCONT)
            # It finds its lease gone and asks for one more push; then it is killed.
            await until(lambda: _asked(stage))
            await frozen.kill()
    assert {call.version for call in book.calls if call.outcome == "done"} == {"2"}


async def _stands_still(pid: int) -> bool:
    return bool(await asyncio.to_thread(psutil.Process(pid).status) == psutil.STATUS_STOPPED)


async def _holds(stage: Stage, name: str) -> bool:
    held = stage.platforms.states["claude"].campaigns.values()
    return [campaign.desired.name for campaign in held] == [name]


async def _asked(stage: Stage) -> bool:
    return await stage.count(ASKED) == 1
