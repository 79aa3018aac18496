"""Models that the webhooks of all ad platforms share: a changed status, updated metrics.

A platform with its own terms replaces them in its own module. Unlike requests of clients,
webhooks are parsed tolerantly: a platform may add fields at any time, in camelCase or
snake_case, and its floats have rounding noise. The parsed values are exact and in range.
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


def map_status(statuses: Mapping[str, ReportedStatus]) -> BeforeValidator:
    """Build a validator that maps a platform's statuses to Adrelay's; others are unchanged."""

    def translate(value: object) -> object:
        return statuses.get(value, value) if isinstance(value, str) else value

    return BeforeValidator(translate)


def _id_to_text(value: object) -> object:
    """Convert an id that was sent as a number to text; other values are unchanged."""
    return str(value) if type(value) is int else value


def _to_integer(value: object) -> object:
    """Convert any form of a whole number: 5, 5.0, 5e0, or text (int64 in proto3 JSON)."""
    if type(value) is int:
        return value
    if isinstance(value, str) and NUMBER.fullmatch(value):
        value = Decimal(value)
    if isinstance(value, float | Decimal) and 0 <= value <= MAX_COUNT and value == int(value):
        return int(value)
    return value


def _round_to_micros(value: Decimal) -> Decimal:
    return value.quantize(MICRO)


# Constraints stand before functions: after one, pydantic checks them in Python.
# Event ids have at most 200 characters; "/<index>" may be appended to the sender's id.
WebhookDeliveryId = Annotated[
    str, Field(min_length=1, max_length=180, pattern=PRINTABLE), BeforeValidator(_id_to_text)
]
PlatformCampaignId = Annotated[
    str, Field(min_length=1, max_length=200, pattern=PRINTABLE), BeforeValidator(_id_to_text)
]
# An id in a platform's answer; stricter, since it becomes a part of paths.
PathSafeCampaignId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")]
ReportedCount = Annotated[Count, BeforeValidator(_to_integer)]
ReportedSpend = Annotated[
    Decimal, Field(ge=0, le=999_999_999, allow_inf_nan=False), AfterValidator(_round_to_micros)
]


class CampaignStatusPayload(ExternalCamelCaseModel):
    """The status of a campaign; ``occurred_at`` is by the platform's clock."""

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
    """Describe pydantic's errors in one line (``ValidationError.errors(include_input=False)``)."""
    found = (f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in errors[:5])
    return escape("; ".join(found), 500)
