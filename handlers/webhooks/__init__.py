"""The webhook sources. A new source is one module here and one line below."""

from collections.abc import Mapping

from handlers.webhooks import chatgpt, claude, gemini
from handlers.webhooks.base import Unrecognised, WebhookSource, build_unrecognised
from infra.security.hmac_signature import InvalidSignature

__all__ = ["SOURCES", "InvalidSignature", "Unrecognised", "WebhookSource", "build_unrecognised"]

SOURCES: Mapping[str, WebhookSource] = {
    "claude": claude,
    "chatgpt": chatgpt,
    "gemini": gemini,
}
