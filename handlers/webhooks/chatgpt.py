"""ChatGPT Ads: Standard Webhooks v1, a secret shared with the sender."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import TypeAdapter

from events import Event
from handlers.webhooks.base import build_event, parse_json
from infra.security import standard_webhooks
from infra.security.hmac_signature import VerifiedSignature
from schemas import chatgpt

WEBHOOK: TypeAdapter[chatgpt.ChatGptWebhook] = TypeAdapter(chatgpt.ChatGptWebhook)

DESCRIPTION = "ChatGPT Ads, Standard Webhooks v1"
SIGNS_TIME = True


def verify(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime
) -> VerifiedSignature:
    """Verify signature and timestamp; the id is ``webhook-id``. Raises ``InvalidSignature``."""
    return standard_webhooks.verify(standard_webhooks.V1, headers, body, secrets, now)


def parse_events(
    body: bytes, delivery: str | None, *, received: datetime | None = None, **trace_attributes: str
) -> list[Event]:
    """Parse one event; raises ``Unrecognised``."""
    return [
        build_event("chatgpt", parse_json(WEBHOOK, body), delivery, received, **trace_attributes)
    ]
