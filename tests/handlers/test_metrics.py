import datetime as dt
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsReported
from events.envelope import decode, encode
from handlers.metrics import record_metrics
from infra.errors import Permanent, Transient
from infra.resources import Resources
from infra.storage.campaigns import CampaignRow
from infra.storage.metrics import list_daily_metrics
from schemas.metrics import DailyMetrics
from tests.handlers.processing import handled
from tests.handlers.samples import DAY, after, metrics, put, running, stored


async def days(engine: AsyncEngine, campaign: CampaignRow) -> list[DailyMetrics]:
    async with engine.connect() as tx:
        return await list_daily_metrics(tx, campaign.id, None, None)


async def impressions(engine: AsyncEngine, campaign: CampaignRow) -> int:
    [day] = await days(engine, campaign)
    return day.impressions


def by_our_id(campaign: CampaignRow, count: int, **fields: Any) -> CampaignMetricsReported:
    return metrics(campaign, count, platform_campaign_id=None, campaign_id=campaign.id, **fields)


async def test_a_report_is_recorded_under_either_id(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = running()
    await put(engine, campaign)
    report = metrics(campaign, 1200, clicks=34, conversions=5, spend="6.000001")
    [event] = await handled(resources, record_metrics, [report])
    assert event.routing_key == "campaign.metrics_recorded.v1.claude"
    assert event.subject == str(campaign.id)
    assert (event.data.impressions, event.data.spend_micros) == (1200, 6_000_001)
    assert event.data.events == (report.id,)
    expected = DailyMetrics(date=DAY, impressions=1200, clicks=34, conversions=5, spend="6.000001")
    assert await days(engine, campaign) == [expected]
    await handled(resources, record_metrics, [by_our_id(campaign, 1300, at=after(1))])
    assert await impressions(engine, campaign) == 1300


async def test_a_batch_makes_one_event_for_each_campaign_and_day_and_names_its_reports(
    resources: Resources, engine: AsyncEngine
) -> None:
    first, second = running(), running(platform="gemini")
    await put(engine, first, second)
    reports = [
        metrics(first, 1, at=after(1)),
        metrics(second, 2),
        by_our_id(first, 3, at=after(3)),
        metrics(first, 4, date=DAY + dt.timedelta(days=1)),
        metrics(first, 5, at=after(2)),
    ]
    events = await handled(resources, record_metrics, reports)
    recorded = {(e.data.campaign_id, e.data.date): e.data for e in events}
    assert len(recorded) == len(events) == 3
    assert recorded[first.id, DAY].impressions == 3
    assert recorded[first.id, DAY].events == (reports[0].id, reports[2].id, reports[4].id)
    assert recorded[second.id, DAY].platform == "gemini"


async def test_the_newest_cumulative_report_wins_even_if_it_is_smaller(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = running()
    await put(engine, campaign)
    await handled(resources, record_metrics, [metrics(campaign, 100, at=after(1))])
    assert await handled(resources, record_metrics, [metrics(campaign, 500)]) == []
    assert await impressions(engine, campaign) == 100
    [event] = await handled(resources, record_metrics, [metrics(campaign, 90, at=after(2))])
    assert event.data.impressions == 90


async def test_at_the_same_time_the_larger_counters_win(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = running()
    await put(engine, campaign)
    await handled(resources, record_metrics, [metrics(campaign, 10, clicks=5)])
    [event] = await handled(resources, record_metrics, [metrics(campaign, 20, clicks=4)])
    assert (event.data.impressions, event.data.clicks) == (20, 5)
    assert await handled(resources, record_metrics, [metrics(campaign, 1)]) == []


async def test_a_newer_report_with_the_same_counters_emits_nothing_but_is_the_newest(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = running()
    await put(engine, campaign)
    await handled(resources, record_metrics, [metrics(campaign, 10)])
    assert await handled(resources, record_metrics, [metrics(campaign, 10, at=after(9))]) == []
    assert await handled(resources, record_metrics, [metrics(campaign, 7, at=after(5))]) == []
    assert await impressions(engine, campaign) == 10


async def test_deltas_are_added_to_the_cumulative_report(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = running()
    await put(engine, campaign)
    delta = metrics(campaign, 5, mode="delta", spend="0.5")
    await handled(resources, record_metrics, [delta])
    await handled(resources, record_metrics, [metrics(campaign, 100), delta, delta])
    await handled(resources, record_metrics, [metrics(campaign, 80, at=after(1), spend=1)])
    [day] = await days(engine, campaign)
    assert (day.impressions, float(day.spend)) == (95, 2.5)


async def test_unknown_campaigns_wait_ten_minutes_at_most_and_only_their_reports_do(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = running()
    await put(engine, campaign)
    unknown = [metrics(running(), 1), by_our_id(stored(), 1)]
    with pytest.raises(Transient) as failure:
        await handled(resources, record_metrics, [unknown[0], metrics(campaign, 1), unknown[1]])
    assert list(failure.value.events) == unknown
    assert failure.value.within == 600
    assert await days(engine, campaign) == []


async def test_a_campaign_on_another_platform_than_the_report_says_is_an_error(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = running()
    await put(engine, campaign)
    wrong = by_our_id(campaign, 1, platform="gemini")
    with pytest.raises(Permanent) as failure:
        await handled(resources, record_metrics, [metrics(campaign, 1), wrong])
    assert failure.value.events == (wrong,)


async def test_metrics_of_a_deleted_campaign_are_still_recorded(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = running(status="deleted", deleted_at=after(0))
    await put(engine, campaign)
    assert len(await handled(resources, record_metrics, [metrics(campaign, 1)])) == 1


async def test_a_recorded_event_survives_the_wire(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = running(id=uuid4())
    await put(engine, campaign)
    [event] = await handled(resources, record_metrics, [metrics(campaign, 1)])
    assert decode(type(event), encode(event)) == event


def untimed(report: CampaignMetricsReported) -> CampaignMetricsReported:
    """Decode a report whose sender set no time."""
    read = decode(CampaignMetricsReported, encode(report, with_time=False))
    assert isinstance(read, CampaignMetricsReported)
    return read


async def test_reports_without_a_time_never_lower_a_day_however_often_they_come(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = running()
    await put(engine, campaign)
    old, new = metrics(campaign, 100, clicks=9), metrics(campaign, 120, clicks=8)
    for report in (old, new, old):
        await handled(resources, record_metrics, [untimed(report)])
    [day] = await days(engine, campaign)
    assert (day.impressions, day.clicks) == (120, 9)
    await handled(resources, record_metrics, [untimed(new), metrics(campaign, 5, mode="delta")])
    assert await impressions(engine, campaign) == 125


async def test_reports_without_a_time_count_only_for_a_day_without_any_time(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = running()
    await put(engine, campaign)
    stale = untimed(metrics(campaign, 900))
    await handled(resources, record_metrics, [stale])
    await handled(resources, record_metrics, [metrics(campaign, 50), stale])
    assert await impressions(engine, campaign) == 50
    assert await handled(resources, record_metrics, [stale]) == []
    assert await impressions(engine, campaign) == 50
