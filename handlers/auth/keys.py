"""Checks before the start that the auth worker has all of its keys."""

from infra.security.access_tokens import TokenSigner
from infra.security.encryption import Encryptor
from infra.security.refresh_token_rotation import parse_refresh_key
from infra.security.sealed_box import PayloadDecryptor
from infra.settings import Settings


def require_keys(settings: Settings) -> None:
    """Raise ``ValueError`` that names the variable of a key that is missing or malformed."""
    if TokenSigner(settings).public not in settings.token_verify_keys:
        raise ValueError("TOKEN_SIGNING_KEY: its public key is not in TOKEN_VERIFY_KEYS")
    Encryptor(settings)
    PayloadDecryptor(settings)
    parse_refresh_key(settings)
