"""Daily figures of a campaign as clients see them."""

from datetime import date

from schemas.base import Count, Frozen, Sum


class DailyMetrics(Frozen):
    """One line of ``GET /api/v1/campaigns/{id}/metrics``; ``spend`` in currency units."""

    date: date
    impressions: Count
    clicks: Count
    conversions: Count
    spend: Sum
