"""Campaigns as clients create, change and read them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from schemas.currencies import Currency, describe_decimals, is_payable
from schemas.types import CamelCaseModel, CurrencyAmount, FrozenModel, Platform, Text

CampaignStatus = Literal["pending", "active", "paused", "completed", "rejected", "deleted"]
# Statuses that a platform may report; only Adrelay sets the other two.
ReportedStatus = Literal["active", "paused", "completed", "rejected"]

CampaignName = Annotated[Text, Field(min_length=1, max_length=100)]
Interest = Annotated[Text, Field(min_length=1, max_length=100)]
Age = Annotated[int, Field(ge=13, le=120)]


def _payable(budget: Decimal, info: ValidationInfo) -> Decimal:
    """Reject decimals that the currency does not have, if a previous field names the currency."""
    currency = info.data.get("currency")
    if currency is not None and not is_payable(budget, currency):
        raise ValueError(describe_decimals(currency))
    return budget


CampaignBudget = Annotated[CurrencyAmount, Field(gt=Decimal(0)), AfterValidator(_payable)]


def _ascending(ages: tuple[int, int]) -> tuple[int, int]:
    if ages[0] > ages[1]:
        message = "must be [min, max] with min <= max"
        raise ValueError(message)
    return ages


AgeRange = Annotated[tuple[Age, Age], AfterValidator(_ascending)]


class Targeting(CamelCaseModel):
    """The audience of a campaign: interests and an inclusive range of ages in years."""

    interests: Annotated[tuple[Interest, ...], Field(max_length=100)]
    age_range: AgeRange


class CampaignCreate(CamelCaseModel):
    """The body of ``POST /api/v1/campaigns``."""

    name: CampaignName
    currency: Currency = "USD"
    budget: CampaignBudget
    platform: Platform
    targeting: Targeting


class CampaignUpdate(CamelCaseModel):
    """The body of ``PATCH /api/v1/campaigns/{id}``: only the fields to change."""

    name: CampaignName | None = None
    budget: CampaignBudget | None = None
    targeting: Targeting | None = None
    status: Literal["active", "paused"] | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if all(value is None for _, value in self):
            message = "at least one of name, budget, targeting, status must be given"
            raise ValueError(message)
        return self


class Campaign(FrozenModel):
    """A campaign as the API returns it; ``budget`` in currency units, times in UTC."""

    id: UUID
    name: str
    platform: Platform
    status: CampaignStatus
    budget: CurrencyAmount
    currency: str
    targeting: Targeting
    platform_campaign_id: str | None
    version: int
    owner_id: UUID | None  # None: owned by the admins
    created_at: datetime
    updated_at: datetime
    synced_at: datetime | None
