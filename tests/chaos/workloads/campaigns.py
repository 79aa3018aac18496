"""Work for the campaigns worker."""

from datetime import timedelta
from uuid import uuid4

from events.envelope import now
from tests.chaos.stage import Stage
from tests.chaos.workloads.base import COUNT, Queued
from tests.handlers.samples import create, put, running, status, stored, synced, update

AHEAD = timedelta(minutes=4)


class Apply(Queued):
    """Campaigns to be created; the operation of each is done."""

    module, queue = "workers.campaigns", "campaigns.apply"

    async def send(self, stage: Stage) -> None:
        await stage.publish([create(uuid4()) for _ in range(COUNT)])

    async def check(self, stage: Stage) -> None:
        events = await stage.caused_once("campaign.saved.v1", by=stage.sent)
        rows = await stage.rows("select cast(id as text), version from campaigns order by 1")
        assert rows == sorted((event["data"]["campaign_id"], 1) for event in events)
        assert await stage.operations("done") == sorted(event.id for event in stage.sent)


class Overtaken(Queued):
    """Changes that come before the creation of their campaigns, so they are told to come again."""

    module, queue = "workers.campaigns", "campaigns.apply"
    handled = 2 * COUNT

    def __init__(self) -> None:
        self.campaigns = [uuid4() for _ in range(COUNT)]

    async def send(self, stage: Stage) -> None:
        # From a little ahead, so that they are young for as long as this takes.
        at = now() + AHEAD
        await stage.publish([update(i, name="Changed", time=at) for i in self.campaigns])

    async def between(self, stage: Stage) -> None:
        await stage.publish([create(i) for i in self.campaigns])

    async def check(self, stage: Stage) -> None:
        await stage.caused_once("campaign.saved.v1", by=stage.sent)
        rows = await stage.rows("select name, version from campaigns")
        assert rows == [("Changed", 2)] * COUNT
        assert await stage.operations("done") == sorted(event.id for event in stage.sent)


class Record(Queued):
    """News that the platform took campaigns."""

    module, queue = "workers.campaigns", "campaigns.record"

    async def send(self, stage: Stage) -> None:
        campaigns = [stored() for _ in range(COUNT)]
        await put(stage.resources.engine, *campaigns)
        await stage.publish([synced(campaign) for campaign in campaigns])

    async def check(self, stage: Stage) -> None:
        await stage.caused_once("campaign.status_changed.v1", by=stage.sent)
        rows = await stage.rows("select status, version, synced_version from campaigns")
        assert rows == [("active", 2, 1)] * COUNT


class Unknown(Record):
    """Reports by ids of a platform that nobody knows yet, so they are told to come again."""

    def __init__(self) -> None:
        self.campaigns = [running() for _ in range(COUNT)]

    async def send(self, stage: Stage) -> None:
        reports = [status(campaign, "paused", now(), time=now()) for campaign in self.campaigns]
        await stage.publish(reports)

    async def between(self, stage: Stage) -> None:
        await put(stage.resources.engine, *self.campaigns)

    async def check(self, stage: Stage) -> None:
        await stage.caused_once("campaign.status_changed.v1", by=stage.sent)
        rows = await stage.rows("select status, version from campaigns")
        assert rows == [("paused", 3)] * COUNT
