"""The secrets of a new installation, made at random: one entry for each variable.

Keys are 32 bytes in base64url without padding (``infra.base64url``); webhook secrets are
in each platform's own form (``infra.security.standard_webhooks``).
"""

import secrets

from events.envelope import now
from infra.base64url import KEY_BYTES, encode_base64url
from infra.security import access_tokens, sealed_box
from infra.security.standard_webhooks import V1, V1A, make_webhook_secret
from infra.storage.api_keys import generate_api_key

PASSWORD_BYTES = 18


def make_secrets() -> dict[str, str]:
    """Make every secret that Adrelay, its first users and the sandbox platforms need."""
    signing, sealing = access_tokens.make_signing_keys(), sealed_box.make_encryption_keys()
    return {
        "ADRELAY_ADMIN_EMAIL": "admin@adrelay.example",
        "ADRELAY_ADMIN_PASSWORD": secrets.token_urlsafe(PASSWORD_BYTES),
        "ADRELAY_API_KEY": generate_api_key().key,
        "ADRELAY_API_KEY_SOURCE": "urn:example:upstream",
        "TOKEN_SIGNING_KEY": signing.private,
        "TOKEN_VERIFY_KEYS": signing.public,
        "TOKEN_KEYS_SINCE": now().isoformat(timespec="seconds"),
        "SEAL_PRIVATE_KEY": sealing.private,
        "SEAL_PUBLIC_KEY": sealing.public,
        "REFRESH_KEY": encode_base64url(secrets.token_bytes(KEY_BYTES)),
        "VAULT_KEYS": encode_base64url(secrets.token_bytes(KEY_BYTES)),
        "OPERATION_KEY": secrets.token_urlsafe(KEY_BYTES),
        "CLAUDE_WEBHOOK_SECRET": secrets.token_urlsafe(KEY_BYTES),
        "CHATGPT_WEBHOOK_SECRET": make_webhook_secret(V1),
        "GEMINI_WEBHOOK_SECRET": make_webhook_secret(V1A),
        "CLAUDE_CLIENT_SECRET": secrets.token_urlsafe(KEY_BYTES),
        "CHATGPT_CLIENT_SECRET": secrets.token_urlsafe(KEY_BYTES),
        "GEMINI_CLIENT_SECRET": secrets.token_urlsafe(KEY_BYTES),
    }
