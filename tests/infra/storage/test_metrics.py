import asyncio
import datetime as dt
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.storage.metrics import (
    ZERO,
    Counters,
    DailyReport,
    DailyTotals,
    list_daily_metrics,
    merge_metrics,
)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = dt.date(2026, 11, 22)
SECOND = dt.timedelta(seconds=1)


def cumulative(campaign_id: UUID, count: int, at: datetime, day: dt.date = DAY) -> DailyReport:
    return DailyReport(campaign_id, day, Counters(count, count, count, count), at, ZERO)


def delta(campaign_id: UUID, count: int) -> DailyReport:
    return DailyReport(campaign_id, DAY, ZERO, None, Counters(count, count, count, count))


async def merge(engine: AsyncEngine, now: datetime, *reports: DailyReport) -> list[DailyTotals]:
    async with engine.begin() as tx:
        return await merge_metrics(tx, reports, now)


@pytest.mark.parametrize(
    ("first", "then", "total"),
    [
        (("cumulative", 5, 0), ("cumulative", 7, 1), 7),
        (("cumulative", 5, 1), ("cumulative", 7, 0), None),
        (("cumulative", 5, 0), ("cumulative", 3, 1), 3),
        (("cumulative", 5, 0), ("cumulative", 7, 0), 7),
        (("cumulative", 5, 0), ("cumulative", 3, 0), None),
        (("cumulative", 5, 0), ("cumulative", 5, 1), None),
        (("cumulative", 5, 0), ("delta", 2, 0), 7),
        (("delta", 2, 0), ("cumulative", 5, 0), 7),
        (("delta", 2, 0), ("delta", 2, 0), 4),
        (("delta", 2, 0), ("cumulative", 0, 0), None),
        (("cumulative", 0, 0), ("delta", 0, 0), None),
    ],
)
async def test_two_reports_make_a_total_or_no_change(
    engine: AsyncEngine, first: tuple[str, int, int], then: tuple[str, int, int], total: int | None
) -> None:
    campaign_id = uuid4()
    changed: list[DailyTotals] = []
    for step, (mode, count, seconds) in enumerate((first, then)):
        at = NOON + seconds * SECOND
        is_delta = mode == "delta"
        report = delta(campaign_id, count) if is_delta else cumulative(campaign_id, count, at)
        changed = await merge(engine, NOON + step * SECOND, report)
    expected = [] if total is None else [DailyTotals(campaign_id, DAY, total, total, total, total)]
    assert changed == expected


async def test_concurrent_merges_of_the_same_days_lose_nothing(engine: AsyncEngine) -> None:
    ids = [uuid4() for _ in range(50)]
    merges = (
        merge(engine, NOON + n * SECOND, *(delta(i, 1) for i in (ids if n % 2 else ids[::-1])))
        for n in range(10)
    )
    await asyncio.gather(*merges)
    async with engine.connect() as tx:
        rows = await tx.execute(text("select impressions, added_clicks from campaign_metrics"))
        assert [tuple(row) for row in rows] == [(10, 10)] * 50


async def test_days_are_read_in_order_and_both_ends_are_included(engine: AsyncEngine) -> None:
    campaign_id = uuid4()
    dates = [DAY + dt.timedelta(days=n) for n in (3, 0, 2, 1)]
    await merge(engine, NOON, *(cumulative(campaign_id, d.day, NOON, d) for d in dates))
    await merge(engine, NOON, cumulative(uuid4(), 1, NOON))
    async with engine.connect() as tx:
        everything = await list_daily_metrics(tx, campaign_id, None, None)
        some = await list_daily_metrics(tx, campaign_id, dates[3], dates[2])
    assert [day.date for day in everything] == sorted(dates)
    assert [day.date for day in some] == [dates[3], dates[2]]
    assert everything[0].spend == Decimal("0.000022")


async def test_a_sum_of_many_large_days_can_still_be_read(engine: AsyncEngine) -> None:
    campaign_id = uuid4()
    for n in range(3):
        await merge(engine, NOON + n * SECOND, delta(campaign_id, 10**18))
    async with engine.connect() as tx:
        [day] = await list_daily_metrics(tx, campaign_id, None, None)
    assert day.spend == Decimal(3 * 10**12)


async def test_a_sum_of_deltas_is_capped_and_hinders_no_report(
    engine: AsyncEngine,
) -> None:
    campaign_id = uuid4()
    for n in range(12):
        await merge(engine, NOON + n * SECOND, delta(campaign_id, 2**63 - 1))
    [changed] = await merge(
        engine, NOON + 20 * SECOND, cumulative(campaign_id, 10**12, NOON + SECOND)
    )
    assert changed.clicks == 8 * 10**18 + 10**12
