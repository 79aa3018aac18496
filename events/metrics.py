"""Daily metrics of campaigns: as reported from outside, and as recorded here."""

from typing import ClassVar, Literal, Self
from uuid import UUID

from pydantic import model_validator

from events.envelope import CloudEventAttribute, Event, EventData
from schemas.times import Day
from schemas.types import Count, CurrencyAmount, Micros, Platform, TotalCount


class CampaignMetricsReportedData(EventData):
    """One campaign's metrics for one day (UTC); ``spend`` in currency units.

    With mode ``cumulative`` they are the day's totals so far; with ``delta`` they are added.
    """

    platform: Platform
    platform_campaign_id: CloudEventAttribute | None = None
    campaign_id: UUID | None = None
    date: Day
    impressions: Count
    clicks: Count
    conversions: Count
    spend: CurrencyAmount
    mode: Literal["cumulative", "delta"] = "cumulative"

    @model_validator(mode="after")
    def _names_a_campaign(self) -> Self:
        if (self.campaign_id is None) == (self.platform_campaign_id is None):
            message = "exactly one of campaign_id and platform_campaign_id must be given"
            raise ValueError(message)
        return self


class CampaignMetricsReported(Event):
    """A platform or an upstream system reported a campaign's metrics for a day."""

    routed_by_platform: ClassVar[bool] = True
    type: Literal["campaign.metrics_reported.v1"] = "campaign.metrics_reported.v1"
    data: CampaignMetricsReportedData


class CampaignMetricsRecordedData(EventData):
    """A day's totals after a batch; ``events`` holds the ids of the reports in the batch."""

    campaign_id: UUID
    platform: Platform
    date: Day
    impressions: TotalCount
    clicks: TotalCount
    conversions: TotalCount
    spend_micros: Micros
    events: tuple[str, ...]


class CampaignMetricsRecorded(Event):
    """A campaign's recorded metrics for a day changed."""

    routed_by_platform: ClassVar[bool] = True
    type: Literal["campaign.metrics_recorded.v1"] = "campaign.metrics_recorded.v1"
    data: CampaignMetricsRecordedData
