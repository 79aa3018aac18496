"""Metrics: what platforms and upstream systems report about a campaign's day is recorded.

A batch is folded to at most one line for each campaign and day, then merged into
``campaign_metrics`` by one statement. Fold and merge obey the same rule: cumulative figures
replace each other, the newest wins, at the same time each counter's larger value wins;
figures whose sender told no time count only for a day that has none with a time, each counter's
larger value again, so that a repetition never lowers anything; deltas add up. So neither the
order of arrival nor the borders of batches matter.
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
from infra.storage.campaigns import find_campaign_refs
from infra.storage.metrics import ZERO, Counters, DailyReport, DailyTotals, merge_metrics
from schemas.types import Platform, to_micros

# A report may overtake the push that gives its campaign a platform id.
UNKNOWN_WITHIN = 600.0  # seconds

# A campaign as reports name it: by our id, or by its platform and the platform's id.
CampaignKey = UUID | tuple[Platform, str]
DayKey = tuple[UUID, dt.date]


@dataclass(slots=True)
class DailyAggregate:
    """What a batch says about one campaign's day, and the events that said it."""

    reported: Counters = ZERO
    reported_at: dt.datetime | None = None
    added: Counters = ZERO
    events: list[CampaignMetricsReported] = field(default_factory=list)

    def add(self, event: CampaignMetricsReported) -> None:
        """Fold one more report in."""
        figures = _figures(event.data)
        self.events.append(event)
        if event.data.mode == "delta":
            self.added = Counters(*map(int.__add__, self.added, figures))
        elif not event.has_time:
            if self.reported_at is None:
                self.reported = Counters(*map(max, self.reported, figures))
        elif self.reported_at is None or event.time > self.reported_at:
            self.reported, self.reported_at = figures, event.time
        elif event.time == self.reported_at:
            self.reported = Counters(*map(max, self.reported, figures))


async def record_metrics(events: list[CampaignMetricsReported], ctx: Context) -> list[Event]:
    """Record reports; returns one event for each campaign and day whose totals changed."""
    campaigns = await _resolve(events, ctx)
    days = aggregate_by_day(events, campaigns)
    reports = [
        DailyReport(*key, day.reported, day.reported_at, day.added) for key, day in days.items()
    ]
    changed = await merge_metrics(ctx.tx, reports, ctx.now)
    return [_recorded(totals, days[totals.campaign_id, totals.date]) for totals in changed]


def aggregate_by_day(
    events: Sequence[CampaignMetricsReported], campaigns: Mapping[CampaignKey, UUID]
) -> dict[DayKey, DailyAggregate]:
    """Fold reports by campaign and day; ``campaigns`` knows whom each report names."""
    days: dict[DayKey, DailyAggregate] = {}
    for event in events:
        key = campaigns[_name(event.data)], event.data.date
        day = days.get(key)
        if day is None:
            day = days[key] = DailyAggregate()
        day.add(event)
    return days


async def _resolve(
    events: Sequence[CampaignMetricsReported], ctx: Context
) -> dict[CampaignKey, UUID]:
    """Find the campaigns that reports name.

    Raises ``Transient`` naming the reports whose campaign is not known yet, ``Permanent``
    naming those whose campaign runs on another platform than they say.
    """
    ids: set[UUID] = set()
    platform_ids: set[tuple[Platform, str]] = set()
    for event in events:
        name = _name(event.data)
        if isinstance(name, UUID):
            ids.add(name)
        else:
            platform_ids.add(name)
    found: dict[CampaignKey, UUID] = {}
    platforms: dict[UUID, Platform] = {}
    for campaign_id, platform, platform_id in await find_campaign_refs(ctx.tx, ids, platform_ids):
        found[campaign_id] = campaign_id
        platforms[campaign_id] = platform
        if platform_id is not None:
            found[platform, platform_id] = campaign_id
    _judge(events, found, platforms)
    return found


def _judge(
    events: Sequence[CampaignMetricsReported],
    found: Mapping[CampaignKey, UUID],
    platforms: Mapping[UUID, Platform],
) -> None:
    unknown, elsewhere = [], []
    for event in events:
        campaign_id = found.get(_name(event.data))
        if campaign_id is None:
            unknown.append(event)
        elif platforms[campaign_id] != event.data.platform:
            elsewhere.append(event)
    if elsewhere:
        reason = "the campaign runs on another platform than the report says"
        raise Permanent(reason, events=elsewhere, code="WRONG_PLATFORM")
    if unknown:
        reason = "no campaign has this id yet"
        raise Transient(reason, events=unknown, code="UNKNOWN_CAMPAIGN", within=UNKNOWN_WITHIN)


def _name(data: CampaignMetricsReportedData) -> CampaignKey:
    if data.campaign_id is not None:
        return data.campaign_id
    return data.platform, data.platform_campaign_id or ""


def _figures(data: CampaignMetricsReportedData) -> Counters:
    return Counters(data.impressions, data.clicks, data.conversions, to_micros(data.spend))


def _recorded(totals: DailyTotals, day: DailyAggregate) -> Event:
    last = day.events[-1]
    return CampaignMetricsRecorded.caused_by(
        last,
        source=METRICS_SOURCE,
        subject=str(totals.campaign_id),
        data=CampaignMetricsRecordedData(
            platform=last.data.platform,
            **totals._asdict(),
            events=tuple(event.id for event in day.events),
        ),
    )
