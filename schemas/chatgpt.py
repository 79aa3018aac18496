"""Models of the ChatGPT Ads API: snake_case, budgets in hundredths of the currency unit."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from schemas import webhooks
from schemas.campaigns import ReportedStatus
from schemas.types import ExternalModel

STATUSES: Mapping[str, ReportedStatus] = {
    "live": "active",
    "paused": "paused",
    "ended": "completed",
    "disapproved": "rejected",
}
ChatGptStatus = Annotated[ReportedStatus, webhooks.map_status(STATUSES)]


class ChatGptAudience(ExternalModel):
    """The audience of a campaign; ages in years, inclusive."""

    topics: tuple[str, ...]
    age_min: int
    age_max: int


class ChatGptMetadata(ExternalModel):
    """Values that the client stores with a campaign; all are text."""

    reference: str = ""
    version: str = ""


class ChatGptCampaignPayload(ExternalModel):
    """The body of a create or an update."""

    title: str
    budget_cents: int
    currency: str
    state: Literal["live", "paused"]
    audience: ChatGptAudience
    metadata: ChatGptMetadata


class ChatGptCampaign(ExternalModel):
    """A campaign at ChatGPT Ads: the fields that Adrelay reads."""

    id: webhooks.PathSafeCampaignId
    state: ChatGptStatus
    metadata: ChatGptMetadata = ChatGptMetadata()


class ChatGptApiErrorDetail(ExternalModel):
    """The error of a rejected request."""

    type: str
    message: str


class ChatGptApiError(ExternalModel):
    """The body of a 4xx answer."""

    error: ChatGptApiErrorDetail


class ChatGptCampaignStatusPayload(webhooks.CampaignStatusPayload):
    """A status, as ChatGPT Ads or as Adrelay names it."""

    status: ChatGptStatus


class ChatGptStatusChanged(webhooks.StatusChanged):
    """A webhook about a changed status."""

    data: ChatGptCampaignStatusPayload


ChatGptWebhook = Annotated[
    ChatGptStatusChanged | webhooks.MetricsUpdated, Field(discriminator="event")
]
