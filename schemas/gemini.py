"""Models of the Gemini Ads API: budgets in micros as text, webhooks in batches."""

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
    """The audience of a campaign."""

    interest_categories: tuple[str, ...]
    age_range: GeminiAgeRange


class GeminiLabels(ExternalCamelCaseModel):
    """Values that the client stores with a campaign; all are text."""

    reference: str = ""
    version: str = ""


class GeminiCampaignPayload(ExternalCamelCaseModel):
    """The desired state of a campaign."""

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
    """A campaign at Gemini Ads: the fields that Adrelay reads."""

    resource_name: GeminiResourceName
    serving_state: GeminiStatus
    labels: GeminiLabels = GeminiLabels()


class GeminiApiErrorDetail(ExternalCamelCaseModel):
    """The error of a rejected request (google.rpc.Status)."""

    status: str
    message: str


class GeminiApiError(ExternalCamelCaseModel):
    """The body of a 4xx answer."""

    error: GeminiApiErrorDetail


class GeminiCampaignStatusPayload(webhooks.CampaignStatusPayload):
    """A status, as Gemini Ads or as Adrelay names it."""

    status: GeminiStatus


class GeminiStatusChanged(webhooks.StatusChanged):
    """A webhook about a changed status."""

    data: GeminiCampaignStatusPayload


GeminiWebhook = Annotated[
    GeminiStatusChanged | webhooks.MetricsUpdated, Field(discriminator="event")
]


class GeminiWebhookBatch(ExternalCamelCaseModel):
    """Several webhooks in one delivery; each is validated separately."""

    events: Annotated[tuple[dict[str, Any], ...], Field(min_length=1, max_length=500)]


def _kind(body: object) -> str:
    return "batch" if isinstance(body, dict) and "events" in body else "single"


GeminiWebhookDelivery = Annotated[
    Annotated[GeminiWebhookBatch, Tag("batch")] | Annotated[GeminiWebhook, Tag("single")],
    Discriminator(_kind),
]
