"""What a webhook source provides, and how a webhook body becomes events.

It has two constants (``WebhookSource``) and two pure functions:

    verify(headers, body, secrets, now) -> ``VerifiedSignature``: delivery id, secret slot, skew
    parse_events(body, delivery, **trace_attributes)  -> the events of the delivery

``verify`` raises only ``InvalidSignature``, for any input; ``parse_events`` raises
only ``Unrecognised``. An event's id is the sender's, so that a repeated delivery
is one event; its data depends on the body alone, for the same reason. ``trace_attributes`` are
attributes of the envelope that tie the events to the request (``correlationid`` and the trace
context).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from events import (
    CampaignMetricsReported,
    CampaignStatusCheckRequested,
    CampaignStatusReported,
    Event,
    WebhookUnrecognised,
)
from events.campaigns import CampaignStatusCheckRequestedData, CampaignStatusReportedData
from events.envelope import now
from events.metrics import CampaignMetricsReportedData
from events.sources import webhook_source
from events.webhooks import WebhookUnrecognisedData
from infra.security.hmac_signature import VerifiedSignature
from schemas.types import Platform
from schemas.webhooks import MetricsUpdated, StatusChanged, describe_errors

WebhookBody = StatusChanged | MetricsUpdated
MAX_KEPT_BYTES = 100 * 1024  # bytes of a body in an event, as JSON writes them

# The inbox keeps ids for INBOX_DAYS (30), so it recognises repetitions that are younger.
MAX_DEDUPLICATED_AGE = timedelta(days=21)


class Unrecognised(Exception):
    """A verified body matches none of our events; ``reason`` says why.

    ``is_unknown_kind`` is true for a well-formed body of a kind that maps to no event type.
    """

    def __init__(self, reason: str, *, is_unknown_kind: bool = False) -> None:
        """Keep the reason for the dead letter."""
        super().__init__(reason)
        self.reason = reason
        self.is_unknown_kind = is_unknown_kind


class WebhookSource(Protocol):
    """A module of this package.

    ``DESCRIPTION`` names the sender and its scheme, for people; ``SIGNS_TIME`` tells whether the
    signature covers a time.
    """

    DESCRIPTION: str
    SIGNS_TIME: bool

    def verify(
        self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime
    ) -> VerifiedSignature:
        """Verify the sender of ``body``; ``now`` is aware. Raises ``InvalidSignature``."""

    def parse_events(
        self,
        body: bytes,
        delivery: str | None,
        *,
        received: datetime | None = None,
        **trace_attributes: str,
    ) -> list[Event]:
        """Parse a verified body received at ``received`` (None: now). Raises ``Unrecognised``."""


def parse_json(shape: TypeAdapter[Any], body: bytes) -> Any:  # noqa: ANN401 - the adapter's type
    """Parse a JSON body with the adapter of its type; raises ``Unrecognised``."""
    try:
        return shape.validate_json(body)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        is_unknown_kind = any(line["type"] == "union_tag_invalid" for line in found)
        raise Unrecognised(describe_errors(found), is_unknown_kind=is_unknown_kind) from None


def build_event(
    platform: Platform,
    webhook: WebhookBody,
    event_id: str | None,
    received: datetime | None = None,
    **trace_attributes: str,
) -> Event:
    """Build the event of a webhook body; without ``event_id`` it gets a new id.

    ``time`` is when it happened if the platform says so, else when it was received: the inbox
    drops a repetition by its id. A body with neither time nor id may be a repetition of any age
    (ARCHITECTURE.md, "No time"): a status then becomes a status check, and figures have no time.
    Raises ``Unrecognised`` for values that no event can hold.
    """
    try:
        return _build_event(platform, webhook, event_id, received or now(), trace_attributes)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        raise Unrecognised(describe_errors(found)) from None


def _build_event(
    platform: Platform,
    webhook: WebhookBody,
    event_id: str | None,
    at: datetime,
    trace_attributes: Mapping[str, str],
) -> Event:
    envelope: dict[str, Any] = {
        "source": webhook_source(platform),
        "subject": webhook.data.campaign_id,
        **trace_attributes,
    }
    if event_id is not None:
        envelope["id"] = event_id
    time = webhook.data.occurred_at or (None if _may_be_repeated(webhook, event_id, at) else at)
    if time is not None:
        envelope["time"] = time
    if isinstance(webhook, StatusChanged):
        if time is None:
            check = CampaignStatusCheckRequestedData(
                platform=platform, platform_campaign_id=webhook.data.campaign_id
            )
            return CampaignStatusCheckRequested(data=check, time=at, **envelope)
        status = CampaignStatusReportedData(
            platform=platform,
            platform_campaign_id=webhook.data.campaign_id,
            status=webhook.data.status,
            occurred_at=webhook.data.occurred_at,
        )
        return CampaignStatusReported(data=status, **envelope)
    figures = CampaignMetricsReportedData(
        platform=platform,
        platform_campaign_id=webhook.data.campaign_id,
        date=webhook.data.date,
        impressions=webhook.data.impressions,
        clicks=webhook.data.clicks,
        conversions=webhook.data.conversions,
        spend=webhook.data.spend,
    )
    return CampaignMetricsReported(data=figures, **envelope)


def _may_be_repeated(webhook: WebhookBody, event_id: str | None, at: datetime) -> bool:
    """Tell whether the inbox could miss that a body without a time is a repetition.

    It forgets an id after a month, so figures of an older day may be a repetition.
    """
    if event_id is None:
        return True
    return (
        isinstance(webhook, MetricsUpdated) and at.date() - webhook.data.date > MAX_DEDUPLICATED_AGE
    )


def build_unrecognised(
    source: str,
    reason: str,
    body: bytes,
    delivery: str | None,
    received: datetime | None = None,
    **trace_attributes: str,
) -> WebhookUnrecognised:
    """Build the event that keeps an unrecognised body as text; of a large body the beginning."""
    text, cut = _kept(body)
    data = WebhookUnrecognisedData(
        webhook=source,
        reason=reason,
        body=text,
        delivery=delivery,
        body_bytes=len(body) if cut else None,
    )
    attributes = trace_attributes if delivery is None else {"id": delivery, **trace_attributes}
    at = received or now()
    return WebhookUnrecognised(source=webhook_source(source), data=data, time=at, **attributes)


def _kept(body: bytes) -> tuple[str, bool]:
    """Return a body as text of at most ``MAX_KEPT_BYTES`` in an event, and whether it was cut."""
    size = min(len(body), MAX_KEPT_BYTES)
    while True:
        text = body[:size].decode("utf-8", "backslashreplace")
        written = len(to_json(text))
        if written <= MAX_KEPT_BYTES:
            return text, size < len(body)
        size = size * MAX_KEPT_BYTES // written
