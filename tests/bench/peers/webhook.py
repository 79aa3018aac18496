"""What a peer's ingress makes of a webhook."""

import datetime as dt
from uuid import UUID

import orjson
from pydantic import BaseModel, Field


class Figures(BaseModel):
    """A campaign's figures of one day."""

    campaign_id: UUID = Field(alias="campaignId")
    date: dt.date
    impressions: int = Field(ge=0)
    clicks: int = Field(ge=0)
    conversions: int = Field(ge=0)
    spend: float = Field(ge=0)


class Webhook(BaseModel):
    """A delivery."""

    id: str
    event: str
    data: Figures


def event_of(webhook: Webhook) -> bytes:
    """Write the event that the delivery means."""
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": webhook.id,
            "source": "urn:adrelay:webhook:claude",
            "type": "campaign.metrics_reported.v1",
            "time": dt.datetime.now(dt.UTC),
            "data": {"platform": "claude", **webhook.data.model_dump()},
        }
    )
