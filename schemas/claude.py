"""Claude Ads' own words: camelCase, budgets as decimal currency units, lower-case states."""

from typing import Annotated, Literal

from pydantic import Field

from schemas import webhooks
from schemas.campaigns import ReportedStatus
from schemas.types import TolerantCamel, Units


class Targeting(TolerantCamel):
    """Whom a campaign addresses."""

    interests: tuple[str, ...]
    age_range: tuple[int, int]


class Wish(TolerantCamel):
    """The body of a create or an update; ``external_id`` and ``external_version`` are ours."""

    name: str
    budget: Units
    currency: str
    status: Literal["active", "paused"]
    targeting: Targeting
    external_id: str
    external_version: int


class Campaign(TolerantCamel):
    """A campaign as Claude Ads holds it, as far as we read it."""

    id: webhooks.CampaignRef
    status: ReportedStatus
    external_version: int | None = None


class Fault(TolerantCamel):
    """What is wrong with a request."""

    code: str
    message: str


class Refusal(TolerantCamel):
    """The body of a 4xx answer."""

    error: Fault


Webhook = Annotated[webhooks.StatusChanged | webhooks.MetricsUpdated, Field(discriminator="event")]
