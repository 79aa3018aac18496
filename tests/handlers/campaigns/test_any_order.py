"""In whatever order, however often and however late reports come, the result is the same.

The models know nothing of batches, inboxes or SQL: they look at all events at once.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsReported, CampaignStatusReported, CampaignSynced
from events.envelope import Event, decode, encode
from infra.errors import Transient
from infra.messaging.subscription import AnySubscription
from infra.resources import Resources
from infra.storage.campaigns import CampaignRow, lock_campaigns, update_campaigns
from infra.storage.metrics import list_daily_metrics
from tests.handlers.processing import attempted
from tests.handlers.samples import DAY, after, metrics, put, running, status, stored, synced
from tests.handlers.syncing import outbox
from workers.campaigns import SUBSCRIPTIONS as CAMPAIGNS
from workers.metrics import SUBSCRIPTIONS as METRICS

[RECORD_METRICS] = METRICS
[_, RECORD_CAMPAIGNS] = CAMPAIGNS

fair = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
moments = st.integers(0, 4)  # few, so that some coincide
counters = st.integers(0, 50)


@dataclass(frozen=True)
class Arrival:
    """Events cut into deliveries: shuffled, some more than once, in batches."""

    batches: list[list[Event]]
    known_after: int  # so many batches come before the platform's id is known


@st.composite
def arrivals(draw: st.DrawFn, events: Sequence[Event]) -> Arrival:
    again = draw(st.lists(st.sampled_from(events), max_size=5))
    deliveries = draw(st.permutations([*events, *again]))
    batches: list[list[Event]] = [[]]
    for event in deliveries:
        if draw(st.booleans()):
            batches.append([])
        batches[-1].append(event)
    return Arrival([batch for batch in batches if batch], draw(st.integers(0, 3)))


async def deliver(
    resources: Resources, subscription: AnySubscription, batches: Sequence[Sequence[Event]]
) -> list[Event]:
    """Run batches with retries; returns the events that have to be retried."""
    waiting: list[Event] = []
    for batch in batches:
        outcome = await attempted(resources, subscription, batch)
        assert all(isinstance(f.error, Transient) for f in outcome.failed), outcome.failed
        waiting += [f.decoded.event for f in outcome.failed if f.decoded]
    return waiting


# --- metrics --------------------------------------------------------------------------------


@st.composite
def metric_reports(draw: st.DrawFn) -> tuple[CampaignRow, list[CampaignMetricsReported]]:
    campaign = running()
    reports = [
        as_read(
            metrics(
                campaign,
                draw(counters),
                clicks=draw(counters),
                spend=draw(counters),
                mode=draw(st.sampled_from(["cumulative", "delta"])),
                at=after(draw(moments)),
                date=DAY + dt.timedelta(days=draw(st.integers(0, 1))),
            ),
            with_time=draw(st.sampled_from([True, True, False])),
        )
        for _ in range(draw(st.integers(1, 8)))
    ]
    return campaign, reports


def as_read(report: CampaignMetricsReported, *, with_time: bool) -> CampaignMetricsReported:
    read = decode(CampaignMetricsReported, encode(report, with_time=with_time))
    assert isinstance(read, CampaignMetricsReported)
    return read


def expected_metrics(reports: Sequence[CampaignMetricsReported]) -> dict[dt.date, tuple[int, ...]]:
    totals: dict[dt.date, list[int]] = defaultdict(lambda: [0, 0, 0])
    for day in {report.data.date for report in reports}:
        of_day = [report for report in reports if report.data.date == day]
        cumulative = [report for report in of_day if report.data.mode == "cumulative"]
        newest = max((report.time for report in cumulative if report.has_time), default=None)
        counted = [r for r in cumulative if newest is None or (r.has_time and r.time == newest)]
        for n, name in enumerate(("impressions", "clicks", "spend")):
            totals[day][n] = max((getattr(r.data, name) for r in counted), default=0) + sum(
                getattr(r.data, name) for r in of_day if r.data.mode == "delta"
            )
    return {day: tuple(int(figure) for figure in figures) for day, figures in totals.items()}


@fair
@given(data=st.data())
async def test_metrics_are_the_same_in_any_order(
    resources: Resources, engine: AsyncEngine, data: st.DataObject
) -> None:
    campaign, reports = data.draw(metric_reports())
    arrival = data.draw(arrivals(reports))
    await put(engine, replace(campaign, platform_campaign_id=None))
    waiting = await deliver(resources, RECORD_METRICS, arrival.batches[: arrival.known_after])
    async with engine.begin() as tx:
        await update_campaigns(tx, [campaign])
    waiting += await deliver(resources, RECORD_METRICS, arrival.batches[arrival.known_after :])
    assert await deliver(resources, RECORD_METRICS, [[event] for event in waiting]) == []
    async with engine.connect() as tx:
        recorded = await list_daily_metrics(tx, campaign.id, None, None)
    found = {day.date: (day.impressions, day.clicks, int(day.spend)) for day in recorded}
    assert found == expected_metrics(reports)


# --- statuses -------------------------------------------------------------------------------


@st.composite
def status_story(draw: st.DrawFn) -> tuple[CampaignRow, list[Any]]:
    """Draw updates of a campaign that was pushed in several versions, with reports in between."""
    campaign = stored(version=3, desired_version=3)
    named = replace(campaign, platform_campaign_id=f"p-{campaign.id}")
    pushed = draw(st.integers(1, 3))
    pushes = [
        synced(named, version=n, at=after(n), status=draw(st.sampled_from(["active", "paused"])))
        for n in range(1, pushed + 1)
    ]
    statuses = st.sampled_from(["active", "paused", "completed", "rejected"])
    reports = [
        status(named, draw(statuses), after(draw(moments))) for _ in range(draw(st.integers(0, 5)))
    ]
    return campaign, [*pushes, *reports]


def newest_statuses(events: Sequence[CampaignSynced | CampaignStatusReported]) -> set[str]:
    def time_of(event: CampaignSynced | CampaignStatusReported) -> dt.datetime:
        occurred_at = event.data.occurred_at if isinstance(event, CampaignStatusReported) else None
        return occurred_at or event.time

    newest = max(map(time_of, events))
    return {event.data.status for event in events if time_of(event) == newest}


@fair
@given(data=st.data())
async def test_a_status_is_the_same_in_any_order(
    resources: Resources, engine: AsyncEngine, data: st.DataObject
) -> None:
    campaign, events = data.draw(status_story())
    arrival = data.draw(arrivals(events))
    await put(engine, campaign)
    waiting = await deliver(resources, RECORD_CAMPAIGNS, arrival.batches)
    assert await deliver(resources, RECORD_CAMPAIGNS, [[event] for event in waiting]) == []
    async with engine.begin() as tx:
        known = (await lock_campaigns(tx, [campaign.id]))[campaign.id]
    pushes = [event for event in events if isinstance(event, CampaignSynced)]
    newest = newest_statuses(events)
    assert known.status in newest
    if len(newest) > 1:  # they have no order, so the platform is to be asked
        assert "campaign.status_check_requested.v1.claude" in await outbox(engine)
    assert known.synced_version == max(push.data.version for push in pushes)
    assert known.platform_campaign_id == f"p-{campaign.id}"
