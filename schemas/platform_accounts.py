"""Accounts of users at the ad platforms, connected by OAuth 2.0."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from schemas.types import FrozenModel, Platform

# Characters; a query string that HTTP servers accept is not longer. RFC 6749 has no limit.
MAX_CODE_LENGTH = 8000
# disconnecting: the tokens are still to be revoked at the platform.
AccountState = Literal["connected", "disconnecting", "disconnected"]


class PlatformAccount(FrozenModel):
    """An account as ``GET /api/v1/platforms`` returns it, without its tokens.

    ``expires_at`` is the expiry of the current access token, which is refreshed before that.
    """

    platform: Platform
    state: AccountState
    scopes: tuple[str, ...]
    connected_at: datetime
    expires_at: datetime | None
    reason: str | None


class AuthorizeUrl(FrozenModel):
    """The URL at which the user gives consent in a browser."""

    authorize_url: str


class PlatformConnection(FrozenModel):
    """The answer to a callback: the connected platform and the granted scopes."""

    platform: Platform
    state: AccountState
    scopes: tuple[str, ...] = ()


class AuthorizationCodeGrant(FrozenModel):
    """An authorization code and its PKCE verifier, which the auth worker exchanges for tokens."""

    platform: Platform
    user_id: UUID
    session_id: str
    code: Annotated[str, Field(min_length=1, max_length=MAX_CODE_LENGTH, repr=False)]
    verifier: Annotated[str, Field(min_length=43, max_length=128, repr=False)]


class PlatformAccountRef(FrozenModel):
    """The account to disconnect: its owner and its platform."""

    platform: Platform
    user_id: UUID
