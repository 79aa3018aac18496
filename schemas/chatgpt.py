"""ChatGPT Ads' own words: budgets in hundredths of the currency unit, states like "live"."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from schemas import webhooks
from schemas.campaigns import ReportedStatus

STATES: Mapping[str, ReportedStatus] = {
    "live": "active",
    "paused": "paused",
    "ended": "completed",
    "disapproved": "rejected",
}
State = Annotated[ReportedStatus, webhooks.spoken(STATES)]


class CampaignStanding(webhooks.CampaignStanding):
    """A state in ChatGPT Ads' words or in ours."""

    status: State


class StatusChanged(webhooks.StatusChanged):
    """News of a state."""

    data: CampaignStanding


Webhook = Annotated[StatusChanged | webhooks.MetricsUpdated, Field(discriminator="event")]
