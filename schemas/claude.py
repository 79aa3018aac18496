"""Models of the Claude Ads API: camelCase, budgets as decimal currency units."""

from typing import Annotated, Literal

from pydantic import Field

from schemas import webhooks
from schemas.campaigns import ReportedStatus
from schemas.types import CurrencyAmount, ExternalCamelCaseModel


class ClaudeTargeting(ExternalCamelCaseModel):
    """The audience of a campaign; ages in years, inclusive."""

    interests: tuple[str, ...]
    age_range: tuple[int, int]


class ClaudeCampaignPayload(ExternalCamelCaseModel):
    """The body of a create or an update; the ``external_*`` are Adrelay's."""

    name: str
    budget: CurrencyAmount
    currency: str
    status: Literal["active", "paused"]
    targeting: ClaudeTargeting
    external_id: str
    external_version: int


class ClaudeCampaign(ExternalCamelCaseModel):
    """A campaign at Claude Ads: the fields that Adrelay reads."""

    id: webhooks.PathSafeCampaignId
    status: ReportedStatus
    external_version: int | None = None


class ClaudeApiErrorDetail(ExternalCamelCaseModel):
    """The error of a rejected request."""

    code: str
    message: str


class ClaudeApiError(ExternalCamelCaseModel):
    """The body of a 4xx answer."""

    error: ClaudeApiErrorDetail


ClaudeWebhook = Annotated[
    webhooks.StatusChanged | webhooks.MetricsUpdated, Field(discriminator="event")
]
