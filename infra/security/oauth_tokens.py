"""The tokens of a connected account: how they are kept, and when they have to be renewed."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import orjson

from infra.security.encryption import Ciphertext, DecryptionFailed, Encryptor
from schemas.oauth import TokenResponse

# Renewed so many seconds ahead of their end, or after four fifths of a short life.
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
    """When an access token ends, if that is known, and when something has to be done about it."""

    expires_at: datetime | None
    due_at: datetime | None


def build_tokens(grant: TokenResponse, before: OAuthTokens | None = None) -> OAuthTokens:
    """Take the tokens out of a grant; without a new refresh token the one before stays."""
    refresh = grant.refresh_token.get_secret_value() if grant.refresh_token else None
    kept = before.refresh if before else None
    return OAuthTokens(grant.access_token.get_secret_value(), refresh or kept)


def schedule_refresh(grant: TokenResponse, tokens: OAuthTokens, began: datetime) -> TokenSchedule:
    """Tell when tokens that were asked for at ``began`` (UTC) end and are to be renewed.

    What cannot be renewed is due when it ends.
    """
    if grant.expires_in is None:
        return TokenSchedule(None, None)
    life = float(grant.expires_in)
    early = min(REFRESH_AHEAD_SECONDS, life * REFRESH_AHEAD_FRACTION) if tokens.refresh else 0.0
    due = max(life - early, MIN_REFRESH_DELAY_SECONDS)
    return TokenSchedule(began + timedelta(seconds=life), began + timedelta(seconds=due))


def encrypt_tokens(
    vault: Encryptor, user_id: UUID, platform: str, tokens: OAuthTokens
) -> Ciphertext:
    """Encrypt tokens for the one row that they belong to."""
    text = orjson.dumps({"access": tokens.access, "refresh": tokens.refresh})
    return vault.encrypt(text, _associated_data(user_id, platform))


def decrypt_tokens(
    vault: Encryptor, user_id: UUID, platform: str, sealed: Ciphertext
) -> OAuthTokens:
    """Decrypt what ``encrypt_tokens`` made for the same row; raises ``DecryptionFailed``."""
    try:
        held = orjson.loads(vault.decrypt(sealed, _associated_data(user_id, platform)))
        return OAuthTokens(held["access"], held["refresh"])
    except (ValueError, KeyError, TypeError):
        raise DecryptionFailed("the sealed text holds no tokens") from None


def _associated_data(user_id: UUID, platform: str) -> str:
    return f"platform_accounts {user_id} {platform}"
