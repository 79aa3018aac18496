"""ChatGPT Ads' own words: snake_case, budgets in hundredths of the currency unit, "live"."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from schemas import webhooks
from schemas.campaigns import ReportedStatus
from schemas.types import Tolerant

STATES: Mapping[str, ReportedStatus] = {
    "live": "active",
    "paused": "paused",
    "ended": "completed",
    "disapproved": "rejected",
}
State = Annotated[ReportedStatus, webhooks.spoken(STATES)]


class Audience(Tolerant):
    """Whom a campaign addresses; ages in years, inclusive."""

    topics: tuple[str, ...]
    age_min: int
    age_max: int


class Metadata(Tolerant):
    """Whatever the client wants to find again; all values are text."""

    reference: str = ""
    version: str = ""


class Wish(Tolerant):
    """The body of a create or an update."""

    title: str
    budget_cents: int
    currency: str
    state: Literal["live", "paused"]
    audience: Audience
    metadata: Metadata


class Campaign(Tolerant):
    """A campaign as ChatGPT Ads holds it, as far as we read it."""

    id: webhooks.CampaignRef
    state: State
    metadata: Metadata = Metadata()


class Fault(Tolerant):
    """What is wrong with a request."""

    type: str
    message: str


class Refusal(Tolerant):
    """The body of a 4xx answer."""

    error: Fault


class CampaignStanding(webhooks.CampaignStanding):
    """A state in ChatGPT Ads' words or in ours."""

    status: State


class StatusChanged(webhooks.StatusChanged):
    """News of a state."""

    data: CampaignStanding


Webhook = Annotated[StatusChanged | webhooks.MetricsUpdated, Field(discriminator="event")]
