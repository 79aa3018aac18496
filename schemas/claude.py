"""Claude Ads' own words: budgets in decimal currency units, camelCase, lower-case states."""

from typing import Annotated

from pydantic import Field

from schemas import webhooks

Webhook = Annotated[webhooks.StatusChanged | webhooks.MetricsUpdated, Field(discriminator="event")]
