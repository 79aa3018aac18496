"""Gemini Ads: Standard Webhooks v1a, signed with a private key; one event or a batch.

The items of a batch are independent: an unrecognised one is kept and does not block the others.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import TypeAdapter
from pydantic_core import to_json

from events import Event
from handlers.webhooks.base import Unrecognised, build_event, build_unrecognised, parse_json
from infra.security import standard_webhooks
from infra.security.hmac_signature import VerifiedSignature
from schemas import gemini

WEBHOOK: TypeAdapter[gemini.GeminiWebhook] = TypeAdapter(gemini.GeminiWebhook)
DELIVERY: TypeAdapter[gemini.GeminiWebhookDelivery] = TypeAdapter(gemini.GeminiWebhookDelivery)

DESCRIPTION = "Gemini Ads, Standard Webhooks v1a"
SIGNS_TIME = True


def verify(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime
) -> VerifiedSignature:
    """Verify signature and timestamp; the id is ``webhook-id``. Raises ``InvalidSignature``."""
    return standard_webhooks.verify(standard_webhooks.V1A, headers, body, secrets, now)


def parse_events(
    body: bytes, delivery: str | None, *, received: datetime | None = None, **trace_attributes: str
) -> list[Event]:
    """Parse one event, or one for each item of a batch; raises ``Unrecognised``."""
    webhook = parse_json(DELIVERY, body)
    if not isinstance(webhook, gemini.GeminiWebhookBatch):
        return [build_event("gemini", webhook, delivery, received, **trace_attributes)]
    if len(webhook.events) == 1:
        return [_parse_item(to_json(webhook.events[0]), delivery, received, **trace_attributes)]
    return [
        _parse_item(
            to_json(item),
            None if delivery is None else f"{delivery}/{index}",
            received,
            **trace_attributes,
        )
        for index, item in enumerate(webhook.events)
    ]


def _parse_item(
    body: bytes, event_id: str | None, received: datetime | None, **trace_attributes: str
) -> Event:
    try:
        return build_event(
            "gemini", parse_json(WEBHOOK, body), event_id, received, **trace_attributes
        )
    except Unrecognised as error:
        return build_unrecognised(
            "gemini", error.reason, body, event_id, received, **trace_attributes
        )
