"""Encrypts the tokens of a connected account, and schedules their refresh."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import orjson

from infra.security.encryption import Ciphertext, DecryptionFailed, Encryptor
from schemas.oauth import TokenResponse

# Tokens are refreshed 300 seconds before they expire, or after four fifths of a short lifetime.
REFRESH_AHEAD_SECONDS = 300.0
REFRESH_AHEAD_FRACTION = 0.2
MIN_REFRESH_DELAY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class OAuthTokens:
    """An access token and, where the platform gives one, a refresh token."""

    access: str = field(repr=False)
    refresh: str | None = field(repr=False)

    @property
    def revocation_token(self) -> str:
        """The token whose revocation ends the whole consent."""
        return self.refresh or self.access


@dataclass(frozen=True, slots=True)
class TokenSchedule:
    """When an access token expires, and when it is due to be refreshed (UTC); None if unknown."""

    expires_at: datetime | None
    due_at: datetime | None


def build_tokens(grant: TokenResponse, before: OAuthTokens | None = None) -> OAuthTokens:
    """Read the tokens of a grant; without a new refresh token the previous one stays valid."""
    refresh = grant.refresh_token.get_secret_value() if grant.refresh_token else None
    kept = before.refresh if before else None
    return OAuthTokens(grant.access_token.get_secret_value(), refresh or kept)


def schedule_refresh(grant: TokenResponse, tokens: OAuthTokens, began: datetime) -> TokenSchedule:
    """Schedule the refresh of tokens that were requested at ``began`` (UTC).

    Tokens that cannot be refreshed are due when they expire.
    """
    if grant.expires_in is None:
        return TokenSchedule(None, None)
    life = float(grant.expires_in)
    early = min(REFRESH_AHEAD_SECONDS, life * REFRESH_AHEAD_FRACTION) if tokens.refresh else 0.0
    due = max(life - early, MIN_REFRESH_DELAY_SECONDS)
    return TokenSchedule(began + timedelta(seconds=life), began + timedelta(seconds=due))


def encrypt_tokens(
    encryptor: Encryptor, user_id: UUID, platform: str, tokens: OAuthTokens
) -> Ciphertext:
    """Encrypt tokens for the row that they belong to."""
    text = orjson.dumps({"access": tokens.access, "refresh": tokens.refresh})
    return encryptor.encrypt(text, _associated_data(user_id, platform))


def decrypt_tokens(
    encryptor: Encryptor, user_id: UUID, platform: str, ciphertext: Ciphertext
) -> OAuthTokens:
    """Decrypt what ``encrypt_tokens`` returned for the same row; raises ``DecryptionFailed``."""
    try:
        stored = orjson.loads(encryptor.decrypt(ciphertext, _associated_data(user_id, platform)))
        return OAuthTokens(stored["access"], stored["refresh"])
    except (ValueError, KeyError, TypeError):
        raise DecryptionFailed("the decrypted text holds no tokens") from None


def _associated_data(user_id: UUID, platform: str) -> str:
    return f"platform_accounts {user_id} {platform}"
