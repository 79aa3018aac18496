"""Gemini Ads: Standard Webhooks v1a, signed with a private key; one piece of news or a batch.

In a batch each piece stands for itself: what we do not understand is kept as unrecognised
and holds nothing else back.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import TypeAdapter
from pydantic_core import to_json

from events import Event
from handlers.webhooks.base import Unrecognised, build_event, build_unrecognised, parse_json
from infra.security import standard_webhooks
from schemas import gemini

WEBHOOK: TypeAdapter[gemini.GeminiWebhook] = TypeAdapter(gemini.GeminiWebhook)
DELIVERY: TypeAdapter[gemini.GeminiWebhookDelivery] = TypeAdapter(gemini.GeminiWebhookDelivery)


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> str:
    """Check the signature and its time, and tell ``webhook-id``. Raises ``BadSignature``."""
    return standard_webhooks.verify(standard_webhooks.V1A, headers, body, secrets, now)


def parse_events(
    body: bytes, delivery: str | None, *, received: datetime | None = None, **trace_attributes: str
) -> list[Event]:
    """Read one event, or one for each piece of a batch; raises ``Unrecognised``."""
    news = parse_json(DELIVERY, body)
    if not isinstance(news, gemini.GeminiWebhookBatch):
        return [build_event("gemini", news, delivery, received, **trace_attributes)]
    if len(news.events) == 1:
        return [_piece(to_json(news.events[0]), delivery, received, **trace_attributes)]
    return [
        _piece(
            to_json(piece),
            None if delivery is None else f"{delivery}/{index}",
            received,
            **trace_attributes,
        )
        for index, piece in enumerate(news.events)
    ]


def _piece(
    body: bytes, event_id: str | None, received: datetime | None, **trace_attributes: str
) -> Event:
    try:
        return build_event(
            "gemini", parse_json(WEBHOOK, body), event_id, received, **trace_attributes
        )
    except Unrecognised as refusal:
        return build_unrecognised(
            "gemini", refusal.reason, body, event_id, received, **trace_attributes
        )
