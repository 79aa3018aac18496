"""Accounts that people have at the ad platforms and have connected here."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from schemas.types import FrozenModel, Platform

# disconnecting: the platform has yet to be told; disconnected: it takes our tokens no more.
# As long as a query string that an HTTP server reads may be; RFC 6749 names no limit.
MAX_CODE_LENGTH = 8000
AccountState = Literal["connected", "disconnecting", "disconnected"]


class PlatformAccount(FrozenModel):
    """An account as ``GET /api/v1/platforms`` shows it: no token is in it.

    ``expires_at`` is when the present access token does; it is renewed before that.
    """

    platform: Platform
    state: AccountState
    scopes: tuple[str, ...]
    connected_at: datetime
    expires_at: datetime | None
    reason: str | None


class AuthorizeUrl(FrozenModel):
    """Where a browser has to go so that its owner can consent."""

    authorize_url: str


class PlatformConnection(FrozenModel):
    """The answer to a consent: which platform is connected, and what we may do there."""

    platform: Platform
    state: AccountState
    scopes: tuple[str, ...] = ()


class AuthorizationCodeGrant(FrozenModel):
    """What the auth worker needs to turn a code into tokens."""

    platform: Platform
    user_id: UUID
    session_id: str
    code: Annotated[str, Field(min_length=1, max_length=MAX_CODE_LENGTH, repr=False)]
    verifier: Annotated[str, Field(min_length=43, max_length=128, repr=False)]


class PlatformAccountRef(FrozenModel):
    """Whose account at which platform is to be disconnected."""

    platform: Platform
    user_id: UUID
