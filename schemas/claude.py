"""Claude Ads' own words: camelCase, budgets as decimal currency units, lower-case states."""

from typing import Annotated, Literal

from pydantic import Field

from schemas import webhooks
from schemas.campaigns import ReportedStatus
from schemas.types import CurrencyAmount, ExternalCamelCaseModel


class ClaudeTargeting(ExternalCamelCaseModel):
    """Whom a campaign addresses."""

    interests: tuple[str, ...]
    age_range: tuple[int, int]


class ClaudeCampaignPayload(ExternalCamelCaseModel):
    """The body of a create or an update; ``external_id`` and ``external_version`` are ours."""

    name: str
    budget: CurrencyAmount
    currency: str
    status: Literal["active", "paused"]
    targeting: ClaudeTargeting
    external_id: str
    external_version: int


class ClaudeCampaign(ExternalCamelCaseModel):
    """A campaign as Claude Ads holds it, as far as we read it."""

    id: webhooks.PathSafeCampaignId
    status: ReportedStatus
    external_version: int | None = None


class ClaudeApiErrorDetail(ExternalCamelCaseModel):
    """What is wrong with a request."""

    code: str
    message: str


class ClaudeApiError(ExternalCamelCaseModel):
    """The body of a 4xx answer."""

    error: ClaudeApiErrorDetail


ClaudeWebhook = Annotated[
    webhooks.StatusChanged | webhooks.MetricsUpdated, Field(discriminator="event")
]
