"""Daily figures of a campaign as clients see them."""

from datetime import date

from schemas.types import Frozen, Sum, Total


class DailyMetrics(Frozen):
    """One line of ``GET /api/v1/campaigns/{id}/metrics``; ``spend`` in currency units."""

    date: date
    impressions: Total
    clicks: Total
    conversions: Total
    spend: Sum
