"""Makes the secrets of a new installation, at random: one entry for each variable.

Webhook secrets are in each platform's own form (``infra.security.standard_webhooks``).
"""

import secrets

from infra.base64url import KEY_BYTES
from infra.commands.generate_keys import generate_keys
from infra.security.standard_webhooks import V1, V1A, make_webhook_secret
from infra.storage.api_keys import generate_api_key

PASSWORD_BYTES = 18


def make_secrets() -> dict[str, str]:
    """Make every secret that Adrelay, its first users and the sandbox platforms need."""
    return {
        "ADRELAY_ADMIN_EMAIL": "admin@adrelay.example",
        "ADRELAY_ADMIN_PASSWORD": secrets.token_urlsafe(PASSWORD_BYTES),
        "ADRELAY_API_KEY": generate_api_key().key,
        "ADRELAY_API_KEY_SOURCE": "urn:example:upstream",
        **generate_keys(),
        "CLAUDE_WEBHOOK_SECRET": secrets.token_urlsafe(KEY_BYTES),
        "CHATGPT_WEBHOOK_SECRET": make_webhook_secret(V1),
        "GEMINI_WEBHOOK_SECRET": make_webhook_secret(V1A),
        "CLAUDE_CLIENT_SECRET": secrets.token_urlsafe(KEY_BYTES),
        "CHATGPT_CLIENT_SECRET": secrets.token_urlsafe(KEY_BYTES),
        "GEMINI_CLIENT_SECRET": secrets.token_urlsafe(KEY_BYTES),
    }
