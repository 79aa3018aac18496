"""Records the daily metrics of campaigns that ad platforms and upstream systems report.

A batch is aggregated to at most one report for each campaign and day, then merged into
``campaign_metrics`` by one statement. Both follow the same rules: cumulative reports replace each
other, the newest wins, and at equal times the larger value of each counter wins; reports without a
time count only for a day without any time, again with the larger values, so that a repetition never
lowers a counter; deltas are added. So neither the order of arrival nor the division into batches
matters.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from events import CampaignMetricsRecorded, CampaignMetricsReported
from events.envelope import Event
from events.metrics import CampaignMetricsRecordedData, CampaignMetricsReportedData
from events.sources import METRICS_SOURCE
from infra.errors import Permanent, Transient
from infra.messaging.context import Context
from infra.storage.campaigns import CampaignRef, find_campaign_refs
from infra.storage.metrics import ZERO, Counters, DailyReport, DailyTotals, merge_metrics
from schemas.types import Platform, to_micros

# A report may overtake the push that gives its campaign a platform id.
UNKNOWN_WITHIN = 600.0  # seconds

# The campaign of a report: our id, or the platform and its id there.
CampaignKey = UUID | tuple[Platform, str]
DayKey = tuple[UUID, dt.date]


@dataclass(slots=True)
class DailyAggregate:
    """The reports of a batch for one campaign and day: newest report (UTC), deltas, events."""

    reported: Counters = ZERO
    reported_at: dt.datetime | None = None
    added: Counters = ZERO
    events: list[CampaignMetricsReported] = field(default_factory=list)

    def add(self, event: CampaignMetricsReported) -> None:
        """Add a report."""
        self.events.append(event)
        data, known = event.data, self.reported_at
        if data.mode == "delta":
            self.added = Counters(*map(int.__add__, self.added, _read_counters(data)))
        elif not event.has_time:
            if known is None:
                self.reported = Counters(*map(max, self.reported, _read_counters(data)))
        elif known is None or event.time > known:
            self.reported, self.reported_at = _read_counters(data), event.time
        elif event.time == known:
            self.reported = Counters(*map(max, self.reported, _read_counters(data)))


async def record_metrics(events: list[CampaignMetricsReported], ctx: Context) -> list[Event]:
    """Record reports; returns an event for each campaign and day whose totals changed."""
    campaign_ids = await _find_campaigns(events, ctx)
    days = aggregate_by_day(events, campaign_ids)
    reports = [
        DailyReport(*key, day.reported, day.reported_at, day.added) for key, day in days.items()
    ]
    changed = await merge_metrics(ctx.tx, reports, ctx.now)
    return [_to_event(totals, days[totals.campaign_id, totals.date]) for totals in changed]


def aggregate_by_day(
    events: Sequence[CampaignMetricsReported], campaign_ids: Sequence[UUID]
) -> dict[DayKey, DailyAggregate]:
    """Aggregate reports by campaign and day; ``campaign_ids`` holds the campaign of each report."""
    days: dict[DayKey, DailyAggregate] = {}
    for event, campaign_id in zip(events, campaign_ids, strict=True):
        key = campaign_id, event.data.date
        day = days.get(key)
        if day is None:
            day = days[key] = DailyAggregate()
        day.add(event)
    return days


async def _find_campaigns(events: Sequence[CampaignMetricsReported], ctx: Context) -> list[UUID]:
    """Find the campaign of each report.

    Raises ``Permanent`` with the reports whose campaign runs on another platform than they say,
    ``Transient`` with the reports whose campaign is not known yet.
    """
    keys = [_campaign_key(event.data) for event in events]
    ids: set[UUID] = set()
    platform_ids: set[tuple[Platform, str]] = set()
    for key in keys:
        if isinstance(key, tuple):
            platform_ids.add(key)
        else:
            ids.add(key)
    found: dict[CampaignKey, CampaignRef] = {}
    for ref in await find_campaign_refs(ctx.tx, ids, platform_ids):
        found[ref.id] = ref
        if ref.platform_campaign_id is not None:
            found[ref.platform, ref.platform_campaign_id] = ref
    return _resolve(events, keys, found)


def _resolve(
    events: Sequence[CampaignMetricsReported],
    keys: Sequence[CampaignKey],
    found: Mapping[CampaignKey, CampaignRef],
) -> list[UUID]:
    campaign_ids: list[UUID] = []
    unknown, elsewhere = [], []
    for event, key in zip(events, keys, strict=True):
        ref = found.get(key)
        if ref is None:
            unknown.append(event)
        elif ref.platform != event.data.platform:
            elsewhere.append(event)
        else:
            campaign_ids.append(ref.id)
    if elsewhere:
        reason = "the campaign runs on another platform than the report says"
        raise Permanent(reason, events=elsewhere, code="WRONG_PLATFORM")
    if unknown:
        reason = "no campaign has this id yet"
        raise Transient(reason, events=unknown, code="UNKNOWN_CAMPAIGN", within=UNKNOWN_WITHIN)
    return campaign_ids


def _campaign_key(data: CampaignMetricsReportedData) -> CampaignKey:
    return data.campaign_id or (data.platform, data.platform_campaign_id or "")


def _read_counters(data: CampaignMetricsReportedData) -> Counters:
    return Counters(data.impressions, data.clicks, data.conversions, to_micros(data.spend))


def _to_event(totals: DailyTotals, day: DailyAggregate) -> Event:
    last = day.events[-1]
    campaign_id, date, impressions, clicks, conversions, spend_micros = totals
    return CampaignMetricsRecorded.caused_by(
        last,
        source=METRICS_SOURCE,
        subject=str(campaign_id),
        data=CampaignMetricsRecordedData(
            campaign_id=campaign_id,
            platform=last.data.platform,
            date=date,
            impressions=impressions,
            clicks=clicks,
            conversions=conversions,
            spend_micros=spend_micros,
            events=tuple([event.id for event in day.events]),
        ),
    )
