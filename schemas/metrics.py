"""Daily metrics of a campaign as the API returns them."""

from datetime import date

from schemas.types import Amount, FrozenModel, TotalCount


class DailyMetrics(FrozenModel):
    """One day of ``GET /api/v1/campaigns/{id}/metrics``; ``spend`` in currency units."""

    date: date
    impressions: TotalCount
    clicks: TotalCount
    conversions: TotalCount
    spend: Amount
