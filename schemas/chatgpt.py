"""ChatGPT Ads' own words: snake_case, budgets in hundredths of the currency unit, "live"."""

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
    """Whom a campaign addresses; ages in years, inclusive."""

    topics: tuple[str, ...]
    age_min: int
    age_max: int


class ChatGptMetadata(ExternalModel):
    """Whatever the client wants to find again; all values are text."""

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
    """A campaign as ChatGPT Ads holds it, as far as we read it."""

    id: webhooks.PathSafeCampaignId
    state: ChatGptStatus
    metadata: ChatGptMetadata = ChatGptMetadata()


class ChatGptApiErrorDetail(ExternalModel):
    """What is wrong with a request."""

    type: str
    message: str


class ChatGptApiError(ExternalModel):
    """The body of a 4xx answer."""

    error: ChatGptApiErrorDetail


class ChatGptCampaignStatusPayload(webhooks.CampaignStatusPayload):
    """A state in ChatGPT Ads' words or in ours."""

    status: ChatGptStatus


class ChatGptStatusChanged(webhooks.StatusChanged):
    """News of a state."""

    data: ChatGptCampaignStatusPayload


ChatGptWebhook = Annotated[
    ChatGptStatusChanged | webhooks.MetricsUpdated, Field(discriminator="event")
]
