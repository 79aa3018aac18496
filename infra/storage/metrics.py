"""Figures of campaigns by day: read for a range of days, and merged in one statement.

A row is made of two parts that never meet. The *reported* part is the newest cumulative
report: a later time wins, at the same time the larger counters win; without any time the
larger counters win too, until a report comes that has one. The *added* part is the sum of the
deltas. The plain columns are both together. Merging is commutative, so reports
give the same row in whatever order they come.
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
    """Counters of a campaign and a day; money in micros."""

    impressions: int
    clicks: int
    conversions: int
    spend_micros: int


ZERO = Counters(0, 0, 0, 0)
# Where a sum of deltas stops growing, and the most that one batch adds: their sum with a report
# still is a bigint. A thousand of the largest reports are no more than that.
MAX_ADDED = 8 * 10**18
MAX_ADDED_PER_BATCH = 10**18


@dataclass(frozen=True, slots=True)
class DailyReport:
    """What a batch says about a campaign's day: the newest report if any, and the deltas."""

    campaign_id: UUID
    date: dt.date
    reported: Counters
    reported_at: dt.datetime | None
    added: Counters


class DailyTotals(NamedTuple):
    """A campaign's day after a merge that changed it; money in micros."""

    campaign_id: UUID
    date: dt.date
    impressions: int
    clicks: int
    conversions: int
    spend_micros: int


def _merged(name: str) -> str:
    """Write the SQL of one merged total: the winner's reported part, and all that was added."""
    return f"""case
        when excluded.reported_at > coalesce(m.reported_at, '-infinity')
            then excluded.{name} - excluded.added_{name}
        when excluded.reported_at is not distinct from m.reported_at
            then greatest(excluded.{name} - excluded.added_{name}, m.{name} - m.added_{name})
        else m.{name} - m.added_{name}
    end + {_added(name)}"""


def _added(name: str) -> str:
    """Write the SQL of one sum of deltas, which cannot overflow."""
    return f"least(m.added_{name} + excluded.added_{name}, {MAX_ADDED})"


def _listed(template: str) -> str:
    return ", ".join(template.format(name=name) for name in COUNTERS)


ROW = _listed("{name}")
ADDED = _listed("added_{name}")
TOTALS = ", ".join(_merged(name) for name in COUNTERS)
# updated_at moves only with the totals, and so tells the rows whose totals changed. Arrays of
# deltas are left empty where there are none; unnest then fills them up with nulls.
MERGE = text(f"""
    with merged as (
        insert into campaign_metrics as m (
            campaign_id, date, {ROW}, {ADDED}, reported_at, updated_at
        )
        select campaign_id, date, {_listed("{name} + coalesce(added_{name}, 0)")},
            {_listed("coalesce(added_{name}, 0)")}, reported_at, cast(:now as timestamptz)
        from unnest(
            cast(:campaign_ids as uuid[]), cast(:dates as date[]), cast(:times as timestamptz[]),
            {_listed("cast(:{name} as bigint[])")}, {_listed("cast(:added_{name} as bigint[])")}
        ) as r (campaign_id, date, reported_at, {ROW}, {ADDED})
        order by campaign_id, date
        on conflict (campaign_id, date) do update set
            ({ROW}) = row({TOTALS}),
            ({ADDED}) = row({", ".join(_added(name) for name in COUNTERS)}),
            reported_at = greatest(m.reported_at, excluded.reported_at),
            updated_at = case
                when ({_listed("m.{name}")}) is distinct from ({TOTALS})
                then excluded.updated_at else m.updated_at
            end
        where (m.reported_at, {_listed("m.{name}")})
            is distinct from (greatest(m.reported_at, excluded.reported_at), {TOTALS})
        returning campaign_id, date, {ROW}, updated_at
    )
    select campaign_id, date, {ROW} from merged where updated_at = cast(:now as timestamptz)
""")  # noqa: S608 - constants


async def list_daily_metrics(
    tx: AsyncConnection, campaign_id: UUID, since: dt.date | None, until: dt.date | None
) -> list[DailyMetrics]:
    """Read a campaign's figures by day (UTC), both ends included, the oldest day first."""
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
    """Merge reports, at most one for each campaign and day; tells the days that changed.

    ``now`` must differ from that of every earlier merge, as times of attempts do.
    """
    if not reports:
        return []
    deltas = any(report.added is not ZERO for report in reports)
    columns: dict[str, object] = {
        "now": now,
        "campaign_ids": [report.campaign_id for report in reports],
        "dates": [report.date for report in reports],
        "times": [report.reported_at for report in reports],
    }
    for n, name in enumerate(COUNTERS):
        columns[name] = [report.reported[n] for report in reports]
        columns[f"added_{name}"] = [_bounded(report.added[n]) for report in reports if deltas]
    rows = await tx.execute(MERGE, columns)
    return [DailyTotals._make(row) for row in rows.all()]


def _bounded(added: int) -> int:
    """Keep what one batch adds within what may be added to a sum."""
    return min(added, MAX_ADDED_PER_BATCH)
