"""Claude Ads: ``X-Claude-Signature`` is the hex HMAC-SHA256 of the raw body; its id is inside.

The signature covers no time, so an old delivery stays valid for ever. The id makes a repetition
harmless; without an id, only idempotent content is accepted (a status, or totals of a day).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import TypeAdapter

from events import Event
from handlers.webhooks.base import build_event, parse_json
from infra.security.hmac_signature import (
    VerifiedSignature,
    read_signature_headers,
    verify_body,
)
from schemas import claude

WEBHOOK: TypeAdapter[claude.ClaudeWebhook] = TypeAdapter(claude.ClaudeWebhook)

DESCRIPTION = "Claude Ads, HMAC-SHA256 of the body"
SIGNS_TIME = False


def verify(
    headers: Mapping[str, str],
    body: bytes,
    secrets: Sequence[str],
    now: datetime,  # noqa: ARG001 - this scheme signs no time
) -> VerifiedSignature:
    """Verify the signature; the delivery id is in the body. Raises ``InvalidSignature``."""
    (signature,) = read_signature_headers(headers, "x-claude-signature")
    return VerifiedSignature(None, verify_body(signature, body, secrets))


def parse_events(
    body: bytes, delivery: str | None, *, received: datetime | None = None, **trace_attributes: str
) -> list[Event]:
    """Parse one event; raises ``Unrecognised``."""
    webhook = parse_json(WEBHOOK, body)
    return [build_event("claude", webhook, delivery or webhook.id, received, **trace_attributes)]
