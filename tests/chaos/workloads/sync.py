"""Work for the sync worker."""

from tests.chaos.stage import Stage
from tests.chaos.workloads.base import COUNT, Queued
from tests.handlers.samples import put, saved, stored


class Sync(Queued):
    """Campaigns that their platform has to hold, each once."""

    module, queue = "workers.sync", "sync.claude"

    async def send(self, stage: Stage) -> None:
        campaigns = [stored() for _ in range(COUNT)]
        await put(stage.resources.engine, *campaigns)
        await stage.publish([saved(campaign) for campaign in campaigns])

    async def between(self, stage: Stage) -> None:
        """Let the time pass that the leases of the dead take to run out."""
        past = "update campaigns set leased_until = now() - interval '1 second'"
        await stage.rows(f"{past} where leased_until > now()")

    async def check(self, stage: Stage) -> None:
        await stage.caused_once("campaign.synced.v1", by=stage.sent)
        ids = [row[0] for row in await stage.rows("select cast(id as text) from campaigns")]
        held = stage.platforms.states["claude"].campaigns.values()
        assert sorted(campaign.desired.reference for campaign in held) == sorted(ids)
        assert await stage.count("select count(*) from campaigns where leased_until > now()") == 0


class Leased(Sync):
    """Campaigns that somebody else seems to push, so their hints are told to come again."""

    async def send(self, stage: Stage) -> None:
        await super().send(stage)
        await stage.rows("update campaigns set leased_until = now() + interval '1 hour'")
