"""What the webhooks of all ad platforms have in common: two kinds of news about a campaign.

A platform that has words of its own replaces them in its own module. Unlike our clients'
bodies these are read tolerantly: a platform may add fields at any time, in camelCase or
snake_case, and its floats carry noise; what is read must still be exact and in range.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from schemas.campaigns import ReportedStatus
from schemas.escaping import escape
from schemas.times import Day, UtcDatetime
from schemas.types import MAX_COUNT, Count, ExternalCamelCaseModel

MICRO = Decimal("0.000001")
NUMBER = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
PRINTABLE = r"^[^\x00-\x1f\x7f]*$"


def map_status(words: Mapping[str, ReportedStatus]) -> BeforeValidator:
    """Make the validator that reads a platform's own status words; ours pass as they are."""

    def translate(word: object) -> object:
        return words.get(word, word) if isinstance(word, str) else word

    return BeforeValidator(translate)


def _named(value: object) -> object:
    """Read a number as the id that it is meant to be; everything else stays what it is."""
    return str(value) if type(value) is int else value


def _counted(value: object) -> object:
    """Read a whole number however it is written: 5, 5.0, 5e0, or as text (int64 in proto3 JSON)."""
    if type(value) is int:
        return value
    if isinstance(value, str) and NUMBER.fullmatch(value):
        value = Decimal(value)
    if isinstance(value, float | Decimal) and 0 <= value <= MAX_COUNT and value == int(value):
        return int(value)
    return value


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(MICRO)


# Event ids have 200 characters; "/<index>" may follow a sender's.
WebhookDeliveryId = Annotated[
    str, BeforeValidator(_named), Field(min_length=1, max_length=180, pattern=PRINTABLE)
]
PlatformCampaignId = Annotated[
    str, BeforeValidator(_named), Field(min_length=1, max_length=200, pattern=PRINTABLE)
]
# In a platform's own answers, stricter: it becomes a part of paths.
PathSafeCampaignId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")]
ReportedCount = Annotated[Count, BeforeValidator(_counted)]
ReportedSpend = Annotated[
    Decimal, Field(ge=0, le=999_999_999, allow_inf_nan=False), AfterValidator(_rounded)
]


class CampaignStatusPayload(ExternalCamelCaseModel):
    """In what state a campaign is; ``occurred_at`` is the platform's clock."""

    campaign_id: PlatformCampaignId
    status: ReportedStatus
    occurred_at: UtcDatetime | None = None


class CampaignMetricsPayload(ExternalCamelCaseModel):
    """A campaign's totals of one day (UTC) so far; ``spend`` in currency units."""

    campaign_id: PlatformCampaignId
    date: Day
    impressions: ReportedCount
    clicks: ReportedCount
    conversions: ReportedCount
    spend: ReportedSpend
    occurred_at: UtcDatetime | None = None


class StatusChanged(ExternalCamelCaseModel):
    """``{"id"?, "event": "campaign.status_changed", "data": ..}``."""

    id: WebhookDeliveryId | None = None
    event: Literal["campaign.status_changed"]
    data: CampaignStatusPayload


class MetricsUpdated(ExternalCamelCaseModel):
    """``{"id"?, "event": "campaign.metrics_updated", "data": ..}``."""

    id: WebhookDeliveryId | None = None
    event: Literal["campaign.metrics_updated"]
    data: CampaignMetricsPayload


def describe_errors(errors: list[Any]) -> str:
    """Say in one line what pydantic found (``ValidationError.errors(include_input=False)``)."""
    found = (f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in errors[:5])
    return escape("; ".join(found), 500)
