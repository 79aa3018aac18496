"""What every webhook source is: two pure functions, and how news becomes events.

    verify(headers, body, secrets, now) -> the sender's delivery id, or None if it sends none
    events_of(body, delivery, **trace_attributes)  -> the events that the delivery means

``verify`` raises ``BadSignature`` and nothing else, whatever it is fed; ``parse_events`` raises
``Unrecognised`` and nothing else. An event's id is the sender's, so that a repeated delivery
is one event; its data depends on the body alone, for the same reason. ``trace_attributes`` are
attributes of the envelope that tie the events to the request (``correlationid``, ``traceparent``).
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
from schemas.types import Platform
from schemas.webhooks import MetricsUpdated, StatusChanged, describe_errors

WebhookBody = StatusChanged | MetricsUpdated
MAX_KEPT_BYTES = 100 * 1024  # bytes of a body in an event, as JSON writes them

# Younger ids are known to the inbox whatever INBOX_DAYS (30) is told within reason.
MAX_DEDUPLICATED_AGE = timedelta(days=21)


class Unrecognised(Exception):
    """A genuine body means none of our events; ``reason`` says why."""

    def __init__(self, reason: str) -> None:
        """Keep the reason, in words."""
        super().__init__(reason)
        self.reason = reason


class WebhookSource(Protocol):
    """A module of this package."""

    def verify(
        self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime
    ) -> str | None:
        """Check who sent ``body``; ``now`` is aware. Raises ``BadSignature``."""

    def parse_events(
        self,
        body: bytes,
        delivery: str | None,
        *,
        received: datetime | None = None,
        **trace_attributes: str,
    ) -> list[Event]:
        """Read a verified body, which came at ``received`` (None: now). Raises ``Unrecognised``."""


def parse_json(shape: TypeAdapter[Any], body: bytes) -> Any:  # noqa: ANN401 - the adapter's type
    """Read a JSON body in a given shape; raises ``Unrecognised``."""
    try:
        return shape.validate_json(body)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        raise Unrecognised(describe_errors(found)) from None


def build_event(
    platform: Platform,
    news: WebhookBody,
    event_id: str | None,
    received: datetime | None = None,
    **trace_attributes: str,
) -> Event:
    """Turn news of a platform into an event; without an id it gets a fresh one.

    ``time`` is when it happened where the platform says so, else when it came, for its id keeps
    a repetition from counting. What has neither may be a repetition of any age (ARCHITECTURE.md,
    "No time"): of a state only a hint remains to ask the platform, and figures have no time.
    Raises ``Unrecognised`` for what no event can hold.
    """
    try:
        return _event_of(platform, news, event_id, received or now(), trace_attributes)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        raise Unrecognised(describe_errors(found)) from None


def _event_of(
    platform: Platform,
    news: WebhookBody,
    event_id: str | None,
    at: datetime,
    trace_attributes: Mapping[str, str],
) -> Event:
    envelope: dict[str, Any] = {
        "source": webhook_source(platform),
        "subject": news.data.campaign_id,
        **trace_attributes,
    }
    if event_id is not None:
        envelope["id"] = event_id
    time = news.data.occurred_at or (None if _may_be_repeated(news, event_id, at) else at)
    if time is not None:
        envelope["time"] = time
    if isinstance(news, StatusChanged):
        if time is None:
            hint = CampaignStatusCheckRequestedData(
                platform=platform, platform_campaign_id=news.data.campaign_id
            )
            return CampaignStatusCheckRequested(data=hint, time=at, **envelope)
        standing = CampaignStatusReportedData(
            platform=platform,
            platform_campaign_id=news.data.campaign_id,
            status=news.data.status,
            occurred_at=news.data.occurred_at,
        )
        return CampaignStatusReported(data=standing, **envelope)
    figures = CampaignMetricsReportedData(
        platform=platform,
        platform_campaign_id=news.data.campaign_id,
        date=news.data.date,
        impressions=news.data.impressions,
        clicks=news.data.clicks,
        conversions=news.data.conversions,
        spend=news.data.spend,
    )
    return CampaignMetricsReported(data=figures, **envelope)


def _may_be_repeated(news: WebhookBody, event_id: str | None, at: datetime) -> bool:
    """Tell whether the inbox would not notice that news without a time came before.

    It forgets an id after a month, so figures of an older day could be old news of it.
    """
    if event_id is None:
        return True
    return isinstance(news, MetricsUpdated) and at.date() - news.data.date > MAX_DEDUPLICATED_AGE


def build_unrecognised(
    source: str,
    reason: str,
    body: bytes,
    delivery: str | None,
    received: datetime | None = None,
    **trace_attributes: str,
) -> WebhookUnrecognised:
    """Keep a genuine body that we do not understand, as text; of a large one the beginning."""
    text, cut = _kept(body)
    data = WebhookUnrecognisedData(
        webhook=source,
        reason=reason,
        body=text,
        delivery=delivery,
        body_bytes=len(body) if cut else None,
    )
    named = trace_attributes if delivery is None else {"id": delivery, **trace_attributes}
    at = received or now()
    return WebhookUnrecognised(source=webhook_source(source), data=data, time=at, **named)


def _kept(body: bytes) -> tuple[str, bool]:
    """Return a body as text of at most ``MAX_KEPT_BYTES`` in an event, and whether it was cut."""
    size = min(len(body), MAX_KEPT_BYTES)
    while True:
        text = body[:size].decode("utf-8", "backslashreplace")
        written = len(to_json(text))
        if written <= MAX_KEPT_BYTES:
            return text, size < len(body)
        size = size * MAX_KEPT_BYTES // written
