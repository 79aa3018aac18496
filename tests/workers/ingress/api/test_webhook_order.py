"""Webhooks that come again, late, or without a time: they take nothing back.

Signed by hand and sent to a real ingress; handled by the real workers' consumers; the platform
is the sandbox.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import now
from infra.messaging.outbox_relay import relay_once
from infra.platforms import open_platforms
from infra.resources import Resources
from infra.settings import Settings
from infra.storage.campaigns import CampaignRow
from tests.handlers.samples import put, row, running
from tests.infra.ledger import count, until
from tests.sandbox import Playground, open_playground
from tests.workers.ingress.api.test_webhooks import send
from tests.workers.ingress.conftest import Spy, body_of, working
from workers.campaigns import SUBSCRIPTIONS as CAMPAIGNS
from workers.metrics import SUBSCRIPTIONS as METRICS
from workers.sync import SUBSCRIPTIONS as SYNC

TODAY = now().date().isoformat()


@dataclass(frozen=True)
class Place:
    """A campaign that runs here and at the platform, and a way to tell of it."""

    engine: AsyncEngine
    resources: Resources
    sandbox: Playground
    campaign: CampaignRow
    tell: Callable[..., Awaitable[None]]

    def status_is(self, status: str) -> Callable[[], Awaitable[bool]]:
        async def holds() -> bool:
            await relay_once(self.resources)
            return (await row(self.engine, self.campaign.id)).status == status

        return holds

    async def pause_there(self) -> None:
        name = self.campaign.platform_campaign_id or ""
        self.sandbox.app.states["claude"].campaigns[name].status = "paused"

    async def questions(self) -> int:
        return len(await self.sandbox.calls("claude", action="status"))

    async def handled(self, consumer: str, wanted: int) -> None:
        sql = f"select count(*) from inbox where consumer = '{consumer}'"  # noqa: S608 - ours
        await until(lambda: _counts(self.engine, sql, wanted))


@pytest.fixture
async def place(
    client: aiohttp.ClientSession, settings: Settings, engine: AsyncEngine, resources: Resources
) -> AsyncIterator[Place]:
    async with open_playground() as sandbox, open_platforms(sandbox.settings) as platforms:
        names = ("claude_url", "claude_client_id", "claude_client_secret")
        pointed = settings.model_copy(update={n: getattr(sandbox.settings, n) for n in names})
        state = running().desired_state().model_copy(update={"platform_campaign_id": None})
        pushed = await platforms["claude"].push(state, "key")
        campaign = running(id=state.campaign_id, platform_campaign_id=pushed.platform_campaign_id)
        await put(engine, campaign)

        async def tell(event: str, id: str | None = None, **data: Any) -> None:  # noqa: A002
            about = {"campaignId": campaign.platform_campaign_id, **data}
            named = {"event": event, "data": about} | ({"id": id} if id else {})
            answer = await send(client, settings, named)
            assert await body_of(answer, 200) == {"received": True}

        async with working(pointed, *CAMPAIGNS, *METRICS, SYNC[0]):
            yield Place(engine, resources, sandbox, campaign, tell)


async def test_a_state_without_id_and_time_is_asked_for_and_a_repetition_takes_nothing_back(
    place: Place,
) -> None:
    await place.pause_there()
    for _ in range(3):
        await place.tell("campaign.status_changed", status="completed")
    await until(place.status_is("paused"))
    known = await row(place.engine, place.campaign.id)
    assert known.status_reported_at is not None
    assert await place.questions() == 1
    assert await count(place.engine, "select count(*) from dead_letters") == 0


async def test_of_two_states_of_one_second_the_platform_says_which_counts(place: Place) -> None:
    await place.pause_there()
    moment = now().replace(microsecond=0).isoformat()
    for status in ("completed", "active"):
        await place.tell("campaign.status_changed", status, status=status, occurredAt=moment)
    await until(place.status_is("paused"))
    assert await place.questions() == 1


async def test_figures_without_id_and_time_take_no_totals_back(place: Place) -> None:
    figures = {"date": TODAY, "clicks": 0, "conversions": 0, "spend": 0}
    for number, impressions in enumerate((100, 200, 100), 1):
        await place.tell("campaign.metrics_updated", impressions=impressions, **figures)
        await place.handled("metrics.record", number)
    totals = "select impressions from campaign_metrics"
    assert await count(place.engine, totals) == 200
    await place.tell("campaign.metrics_updated", "evt_7", impressions=150, **figures)
    await place.tell("campaign.metrics_updated", impressions=100, **figures)
    await place.handled("metrics.record", 5)
    assert await count(place.engine, totals) == 150


async def test_a_second_attempt_is_a_duplicate_whatever_its_body_says(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    at = now()
    await place.tell("campaign.status_changed", "e1", status="paused", occurredAt=at.isoformat())
    await until(place.status_is("paused"))
    later = now().isoformat()
    for change in ({"occurredAt": later}, {"occurredAt": later, "status": "active"}, {}):
        await place.tell("campaign.status_changed", "e1", **{"status": "paused", **change})
    await place.tell("campaign.status_changed", "e2", status="completed", occurredAt=later)
    await until(place.status_is("completed"))
    await place.handled("campaigns.record", 2)
    figures = {"date": TODAY, "clicks": 0, "conversions": 0, "spend": 0}
    for impressions in (5, 9):
        await place.tell("campaign.metrics_updated", "e3", impressions=impressions, **figures)
    await place.tell("campaign.metrics_updated", "e4", impressions=7, **figures)
    await place.handled("metrics.record", 2)
    assert await count(place.engine, "select impressions from campaign_metrics") == 7
    assert "dead-lettered" not in caplog.text


async def test_a_second_attempt_counts_from_the_first(
    client: aiohttp.ClientSession, settings: Settings, spy: Spy
) -> None:
    news = {
        "id": "evt_1",
        "event": "campaign.status_changed",
        "data": {"campaignId": "c", "status": "paused"},
    }
    for _ in range(2):
        await body_of(await send(client, settings, news), 200)
    first, second = await spy.events(2)
    assert first["time"] == second["time"]


async def _counts(engine: AsyncEngine, sql: str, wanted: int) -> bool:
    return await count(engine, sql) == wanted
