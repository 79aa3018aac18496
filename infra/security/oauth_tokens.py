"""The tokens of a connected account: how they are kept, and when they have to be renewed."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import orjson

from infra.security.encryption import Sealed, Vault, VaultLocked
from schemas.oauth import Grant

# Renewed so many seconds ahead of their end, or after four fifths of a short life.
AHEAD_SECONDS = 300.0
AHEAD_SHARE = 0.2
LEAST_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Tokens:
    """An access token and, where the platform gives one, a refresh token."""

    access: str = field(repr=False)
    refresh: str | None = field(repr=False)

    @property
    def root(self) -> str:
        """The token whose revocation ends the whole consent."""
        return self.refresh or self.access


@dataclass(frozen=True, slots=True)
class Times:
    """When an access token ends, if that is known, and when something has to be done about it."""

    expires_at: datetime | None
    due_at: datetime | None


def tokens_of(grant: Grant, before: Tokens | None = None) -> Tokens:
    """Take the tokens out of a grant; without a new refresh token the one before stays."""
    refresh = grant.refresh_token.get_secret_value() if grant.refresh_token else None
    kept = before.refresh if before else None
    return Tokens(grant.access_token.get_secret_value(), refresh or kept)


def times_of(grant: Grant, tokens: Tokens, began: datetime) -> Times:
    """Tell when tokens that were asked for at ``began`` (UTC) end and are to be renewed.

    What cannot be renewed is due when it ends.
    """
    if grant.expires_in is None:
        return Times(None, None)
    life = float(grant.expires_in)
    early = min(AHEAD_SECONDS, life * AHEAD_SHARE) if tokens.refresh else 0.0
    due = max(life - early, LEAST_SECONDS)
    return Times(began + timedelta(seconds=life), began + timedelta(seconds=due))


def seal_tokens(vault: Vault, user_id: UUID, platform: str, tokens: Tokens) -> Sealed:
    """Encrypt tokens for the one row that they belong to."""
    text = orjson.dumps({"access": tokens.access, "refresh": tokens.refresh})
    return vault.seal(text, _about(user_id, platform))


def open_tokens(vault: Vault, user_id: UUID, platform: str, sealed: Sealed) -> Tokens:
    """Decrypt what ``seal_tokens`` made for the same row; raises ``VaultLocked``."""
    try:
        held = orjson.loads(vault.open(sealed, _about(user_id, platform)))
        return Tokens(held["access"], held["refresh"])
    except (ValueError, KeyError, TypeError):
        raise VaultLocked("the sealed text holds no tokens") from None


def _about(user_id: UUID, platform: str) -> str:
    return f"platform_accounts {user_id} {platform}"
