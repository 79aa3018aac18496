"""Queries for the daily metrics of campaigns: reads for a range of days, and one merge statement.

A row has two independent parts. The *reported* part is the newest cumulative report: a later time
wins, at equal times the larger counters win; among reports without a time the larger counters win,
until one with a time replaces them. The *added* part is the sum of the deltas. The plain columns
are the total of both. The merge is commutative: the order of the reports does not change the row.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.tables import campaign_metrics
from schemas.metrics import DailyMetrics
from schemas.types import from_micros

COUNTERS = ("impressions", "clicks", "conversions", "spend_micros")


class Counters(NamedTuple):
    """The counters of a campaign's day; money in micros."""

    impressions: int
    clicks: int
    conversions: int
    spend_micros: int


ZERO = Counters(0, 0, 0, 0)
# Caps of a sum of deltas and of the amount that one batch adds: the sum of both and a report fits a
# bigint. The cap of a batch is a thousand of the largest reports.
MAX_ADDED = 8 * 10**18
MAX_ADDED_PER_BATCH = 10**18


@dataclass(frozen=True, slots=True)
class DailyReport:
    """A batch's contribution to a campaign's day: the newest report (UTC) and the sum of deltas."""

    campaign_id: UUID
    date: dt.date
    reported: Counters
    reported_at: dt.datetime | None
    added: Counters


class DailyTotals(NamedTuple):
    """The totals of a campaign's day after a merge that changed them; money in micros."""

    campaign_id: UUID
    date: dt.date
    impressions: int
    clicks: int
    conversions: int
    spend_micros: int


def _merged(name: str) -> str:
    """Build the SQL of a merged total: the winning reported part plus the added parts."""
    return f"""case
        when excluded.reported_at > coalesce(m.reported_at, '-infinity')
            then excluded.{name} - excluded.added_{name}
        when excluded.reported_at is not distinct from m.reported_at
            then greatest(excluded.{name} - excluded.added_{name}, m.{name} - m.added_{name})
        else m.{name} - m.added_{name}
    end + {_added(name)}"""


def _added(name: str) -> str:
    """Build the SQL of a sum of deltas, capped against overflow."""
    return f"least(m.added_{name} + excluded.added_{name}, {MAX_ADDED})"


def _columns(template: str) -> str:
    return ", ".join(template.format(name=name) for name in COUNTERS)


ROW = _columns("{name}")
ADDED = _columns("added_{name}")
TOTALS = ", ".join(_merged(name) for name in COUNTERS)
# updated_at changes only with the totals, so it marks the rows whose totals changed. Without deltas
# their arrays are empty, and unnest pads them with nulls.
MERGE = text(f"""
    with merged as (
        insert into campaign_metrics as m (
            campaign_id, date, {ROW}, {ADDED}, reported_at, updated_at
        )
        select campaign_id, date, {_columns("{name} + coalesce(added_{name}, 0)")},
            {_columns("coalesce(added_{name}, 0)")}, reported_at, cast(:now as timestamptz)
        from unnest(
            cast(:campaign_ids as uuid[]), cast(:dates as date[]), cast(:times as timestamptz[]),
            {_columns("cast(:{name} as bigint[])")}, {_columns("cast(:added_{name} as bigint[])")}
        ) as r (campaign_id, date, reported_at, {ROW}, {ADDED})
        order by campaign_id, date
        on conflict (campaign_id, date) do update set
            ({ROW}) = row({TOTALS}),
            ({ADDED}) = row({", ".join(_added(name) for name in COUNTERS)}),
            reported_at = greatest(m.reported_at, excluded.reported_at),
            updated_at = case
                when ({_columns("m.{name}")}) is distinct from ({TOTALS})
                then excluded.updated_at else m.updated_at
            end
        where (m.reported_at, {_columns("m.{name}")})
            is distinct from (greatest(m.reported_at, excluded.reported_at), {TOTALS})
        returning campaign_id, date, {ROW}, updated_at
    )
    select campaign_id, date, {ROW} from merged where updated_at = cast(:now as timestamptz)
""")  # noqa: S608 - constants


async def list_daily_metrics(
    tx: AsyncConnection, campaign_id: UUID, since: dt.date | None, until: dt.date | None
) -> list[DailyMetrics]:
    """Read the metrics of a campaign by day (UTC), both ends inclusive, the oldest day first."""
    day = campaign_metrics.c.date
    query = select(day, *(campaign_metrics.c[name] for name in COUNTERS)).order_by(day)
    query = query.where(campaign_metrics.c.campaign_id == campaign_id)
    if since is not None:
        query = query.where(day >= since)
    if until is not None:
        query = query.where(day <= until)
    return [
        DailyMetrics(
            date=row.date,
            impressions=row.impressions,
            clicks=row.clicks,
            conversions=row.conversions,
            spend=from_micros(row.spend_micros),
        )
        for row in await tx.execute(query)
    ]


async def merge_metrics(
    tx: AsyncConnection, reports: Sequence[DailyReport], now: dt.datetime
) -> list[DailyTotals]:
    """Merge reports, at most one for each campaign and day; returns the days that changed.

    ``now`` (UTC) must differ from that of every earlier merge, as the times of attempts do.
    """
    if not reports:
        return []
    columns: dict[str, object] = {
        "now": now,
        "campaign_ids": [report.campaign_id for report in reports],
        "dates": [report.date for report in reports],
        "times": [report.reported_at for report in reports],
    }
    reported = zip(*(report.reported for report in reports), strict=True)
    columns.update(zip(COUNTERS, map(list, reported), strict=True))
    has_deltas = any(report.added is not ZERO for report in reports)
    for n, name in enumerate(COUNTERS):
        added = [_capped(report.added[n]) for report in reports] if has_deltas else []
        columns[f"added_{name}"] = added
    rows = await tx.execute(MERGE, columns)
    return [DailyTotals._make(row) for row in rows.all()]


def _capped(added: int) -> int:
    """Cap the amount that one batch adds to a sum."""
    return min(added, MAX_ADDED_PER_BATCH)
