"""Campaigns as clients see them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from schemas.currencies import Currency, is_payable, objection
from schemas.types import Frozen, Lenient, Platform, Text, Units

CampaignStatus = Literal["pending", "active", "paused", "completed", "rejected", "deleted"]
# What a platform may report; the other two are ours alone.
ReportedStatus = Literal["active", "paused", "completed", "rejected"]

Name = Annotated[Text, Field(min_length=1, max_length=100)]
Interest = Annotated[Text, Field(min_length=1, max_length=100)]
Age = Annotated[int, Field(ge=13, le=120)]


def _payable(budget: Decimal, info: ValidationInfo) -> Decimal:
    """Refuse decimals that the currency does not have, where a field before tells it."""
    currency = info.data.get("currency")
    if currency is not None and not is_payable(budget, currency):
        raise ValueError(objection(currency))
    return budget


Budget = Annotated[Units, Field(gt=Decimal(0)), AfterValidator(_payable)]


def _ascending(ages: tuple[int, int]) -> tuple[int, int]:
    if ages[0] > ages[1]:
        message = "must be [min, max] with min <= max"
        raise ValueError(message)
    return ages


AgeRange = Annotated[tuple[Age, Age], AfterValidator(_ascending)]


class Targeting(Lenient):
    """Whom a campaign addresses: interests and an inclusive range of ages in years."""

    interests: Annotated[tuple[Interest, ...], Field(max_length=100)]
    age_range: AgeRange


class CampaignDraft(Lenient):
    """The body of ``POST /api/v1/campaigns``."""

    name: Name
    currency: Currency = "USD"
    budget: Budget
    platform: Platform
    targeting: Targeting


class CampaignPatch(Lenient):
    """The body of ``PATCH /api/v1/campaigns/{id}``: only what is to change."""

    name: Name | None = None
    budget: Budget | None = None
    targeting: Targeting | None = None
    status: Literal["active", "paused"] | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if all(value is None for _, value in self):
            message = "at least one of name, budget, targeting, status must be given"
            raise ValueError(message)
        return self


class Campaign(Frozen):
    """A campaign as the API answers it; ``budget`` in currency units, times in UTC."""

    id: UUID
    name: str
    platform: Platform
    status: CampaignStatus
    budget: Units
    currency: str
    targeting: Targeting
    platform_campaign_id: str | None
    version: int
    owner_id: UUID | None  # None: it belongs to the admins
    created_at: datetime
    updated_at: datetime
    synced_at: datetime | None
