"""Daily figures of a campaign as clients see them."""

from datetime import date

from schemas.types import Amount, FrozenModel, TotalCount


class DailyMetrics(FrozenModel):
    """One line of ``GET /api/v1/campaigns/{id}/metrics``; ``spend`` in currency units."""

    date: date
    impressions: TotalCount
    clicks: TotalCount
    conversions: TotalCount
    spend: Amount
