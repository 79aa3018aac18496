"""Gemini Ads' own words: budgets in micros as text, upper-case states, webhooks in batches."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from schemas import webhooks
from schemas.campaigns import ReportedStatus
from schemas.types import TolerantCamel

STATES: Mapping[str, ReportedStatus] = {
    "ENABLED": "active",
    "PAUSED": "paused",
    "ENDED": "completed",
    "DISAPPROVED": "rejected",
}
State = Annotated[ReportedStatus, webhooks.spoken(STATES)]
ResourceName = Annotated[str, Field(pattern=r"^campaigns/[A-Za-z0-9_-]{1,100}$")]


class AgeRange(TolerantCamel):
    """Ages in years, inclusive."""

    min: int
    max: int


class Targeting(TolerantCamel):
    """Whom a campaign addresses."""

    interest_categories: tuple[str, ...]
    age_range: AgeRange


class Labels(TolerantCamel):
    """Whatever the client wants to find again; all values are text."""

    reference: str = ""
    version: str = ""


class Wish(TolerantCamel):
    """A campaign as it is wanted."""

    display_name: str
    budget_micros: Annotated[str, Field(pattern=r"^[0-9]{1,19}$")]
    currency_code: str
    serving_state: Literal["ENABLED", "PAUSED"]
    targeting: Targeting
    labels: Labels


class Mutation(TolerantCamel):
    """The body of a create or an update."""

    campaign: Wish


class Campaign(TolerantCamel):
    """A campaign as Gemini Ads holds it, as far as we read it."""

    resource_name: ResourceName
    serving_state: State
    labels: Labels = Labels()


class Fault(TolerantCamel):
    """What is wrong with a request (google.rpc.Status)."""

    status: str
    message: str


class Refusal(TolerantCamel):
    """The body of a 4xx answer."""

    error: Fault


class CampaignStanding(webhooks.CampaignStanding):
    """A state in Gemini Ads' words or in ours."""

    status: State


class StatusChanged(webhooks.StatusChanged):
    """News of a state."""

    data: CampaignStanding


Webhook = Annotated[StatusChanged | webhooks.MetricsUpdated, Field(discriminator="event")]


class Batch(TolerantCamel):
    """Several pieces of news in one delivery; each is read by itself."""

    events: Annotated[tuple[dict[str, Any], ...], Field(min_length=1, max_length=500)]


def _kind(body: object) -> str:
    return "batch" if isinstance(body, dict) and "events" in body else "single"


Delivery = Annotated[
    Annotated[Batch, Tag("batch")] | Annotated[Webhook, Tag("single")], Discriminator(_kind)
]
