"""Gemini Ads' own words: budgets in micros as text, upper-case states, webhooks in batches."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from schemas import webhooks
from schemas.campaigns import ReportedStatus

STATES: Mapping[str, ReportedStatus] = {
    "ENABLED": "active",
    "PAUSED": "paused",
    "ENDED": "completed",
    "DISAPPROVED": "rejected",
}
State = Annotated[ReportedStatus, webhooks.spoken(STATES)]


class CampaignStanding(webhooks.CampaignStanding):
    """A state in Gemini Ads' words or in ours."""

    status: State


class StatusChanged(webhooks.StatusChanged):
    """News of a state."""

    data: CampaignStanding


Webhook = Annotated[StatusChanged | webhooks.MetricsUpdated, Field(discriminator="event")]


class Batch(webhooks.News):
    """Several pieces of news in one delivery; each is read by itself."""

    events: Annotated[tuple[dict[str, Any], ...], Field(min_length=1, max_length=500)]


def _kind(body: object) -> str:
    return "batch" if isinstance(body, dict) and "events" in body else "single"


Delivery = Annotated[
    Annotated[Batch, Tag("batch")] | Annotated[Webhook, Tag("single")], Discriminator(_kind)
]
