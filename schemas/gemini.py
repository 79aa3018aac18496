"""Gemini Ads' own words: budgets in micros as text, upper-case states, webhooks in batches."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from schemas import webhooks
from schemas.campaigns import ReportedStatus
from schemas.types import ExternalCamelCaseModel

STATUSES: Mapping[str, ReportedStatus] = {
    "ENABLED": "active",
    "PAUSED": "paused",
    "ENDED": "completed",
    "DISAPPROVED": "rejected",
}
GeminiStatus = Annotated[ReportedStatus, webhooks.map_status(STATUSES)]
GeminiResourceName = Annotated[str, Field(pattern=r"^campaigns/[A-Za-z0-9_-]{1,100}$")]


class GeminiAgeRange(ExternalCamelCaseModel):
    """Ages in years, inclusive."""

    min: int
    max: int


class GeminiTargeting(ExternalCamelCaseModel):
    """Whom a campaign addresses."""

    interest_categories: tuple[str, ...]
    age_range: GeminiAgeRange


class GeminiLabels(ExternalCamelCaseModel):
    """Whatever the client wants to find again; all values are text."""

    reference: str = ""
    version: str = ""


class GeminiCampaignPayload(ExternalCamelCaseModel):
    """A campaign as it is wanted."""

    display_name: str
    budget_micros: Annotated[str, Field(pattern=r"^[0-9]{1,19}$")]
    currency_code: str
    serving_state: Literal["ENABLED", "PAUSED"]
    targeting: GeminiTargeting
    labels: GeminiLabels


class GeminiCampaignMutation(ExternalCamelCaseModel):
    """The body of a create or an update."""

    campaign: GeminiCampaignPayload


class GeminiCampaign(ExternalCamelCaseModel):
    """A campaign as Gemini Ads holds it, as far as we read it."""

    resource_name: GeminiResourceName
    serving_state: GeminiStatus
    labels: GeminiLabels = GeminiLabels()


class GeminiApiErrorDetail(ExternalCamelCaseModel):
    """What is wrong with a request (google.rpc.Status)."""

    status: str
    message: str


class GeminiApiError(ExternalCamelCaseModel):
    """The body of a 4xx answer."""

    error: GeminiApiErrorDetail


class GeminiCampaignStatusPayload(webhooks.CampaignStatusPayload):
    """A state in Gemini Ads' words or in ours."""

    status: GeminiStatus


class GeminiStatusChanged(webhooks.StatusChanged):
    """News of a state."""

    data: GeminiCampaignStatusPayload


GeminiWebhook = Annotated[
    GeminiStatusChanged | webhooks.MetricsUpdated, Field(discriminator="event")
]


class GeminiWebhookBatch(ExternalCamelCaseModel):
    """Several pieces of news in one delivery; each is read by itself."""

    events: Annotated[tuple[dict[str, Any], ...], Field(min_length=1, max_length=500)]


def _kind(body: object) -> str:
    return "batch" if isinstance(body, dict) and "events" in body else "single"


GeminiWebhookDelivery = Annotated[
    Annotated[GeminiWebhookBatch, Tag("batch")] | Annotated[GeminiWebhook, Tag("single")],
    Discriminator(_kind),
]
