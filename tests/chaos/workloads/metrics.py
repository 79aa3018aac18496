"""Work for the metrics worker."""

from events.envelope import Event, now
from infra.storage.campaigns import CampaignRow
from tests.chaos.stage import Stage
from tests.chaos.workloads.base import COUNT, Queued
from tests.handlers.samples import metrics, put, running

# A sum of different powers of two shows which of them are missing and which came twice.
EACH_ONCE = 2**COUNT - 1


def deltas(campaign: CampaignRow) -> list[Event]:
    """Make reports whose sum tells each of them."""
    named = {"platform_campaign_id": None, "campaign_id": campaign.id, "mode": "delta"}
    told = [metrics(campaign, 2**n, at=now(), **named) for n in range(COUNT)]
    return [event.model_copy(update={"source": "urn:test"}) for event in told]


async def check_sum(stage: Stage, campaign: CampaignRow) -> None:
    """See that the deltas of a campaign were added once each."""
    query = "select impressions from campaign_metrics where campaign_id = :id"
    assert await stage.rows(query, id=campaign.id) == [(EACH_ONCE,)]


class Metrics(Queued):
    """Deltas about a campaign that is known."""

    module, queue = "workers.metrics", "metrics.record"

    def __init__(self) -> None:
        self.campaign = running()

    async def send(self, stage: Stage) -> None:
        await put(stage.resources.engine, self.campaign)
        await stage.publish(deltas(self.campaign))

    async def check(self, stage: Stage) -> None:
        await check_sum(stage, self.campaign)
        named = [id_ for event in await stage.caused() for id_ in event["data"]["events"]]
        assert sorted(named) == sorted(event.id for event in stage.sent)


class TooEarly(Metrics):
    """Deltas about a campaign that is known only later, so they are told to come again."""

    async def send(self, stage: Stage) -> None:
        await stage.publish(deltas(self.campaign))

    async def between(self, stage: Stage) -> None:
        await put(stage.resources.engine, self.campaign)
