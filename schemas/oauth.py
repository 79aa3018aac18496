"""Responses of OAuth 2.0 token endpoints (RFC 6749)."""

from typing import Annotated

from pydantic import Field, SecretStr

from schemas.types import ExternalModel

# Larger than any header that could transport it; RFC 6749 has no limit.
OAuthToken = Annotated[SecretStr, Field(min_length=1, max_length=16 * 1024)]


class AccessToken(ExternalModel):
    """The response to client credentials (section 5.1); ``expires_in`` in seconds.

    RFC 6749 only recommends ``expires_in``; without it the token is taken to live 60 s.
    """

    access_token: OAuthToken
    expires_in: Annotated[int, Field(ge=0)] = 60


class TokenResponse(ExternalModel):
    """The response to an authorization code (section 5.1) or a refresh token (section 6).

    ``expires_in`` is in seconds, None if unknown; ``refresh_token`` is None if there is none
    or, after a refresh, if the previous one stays valid; ``scope`` is None if it is the
    requested one.
    """

    access_token: OAuthToken
    token_type: Annotated[str, Field(pattern=r"^[Bb][Ee][Aa][Rr][Ee][Rr]$")]
    expires_in: Annotated[int, Field(ge=0, le=10 * 365 * 86_400)] | None = None
    refresh_token: OAuthToken | None = None
    scope: Annotated[str, Field(max_length=2000)] | None = None


class TokenError(ExternalModel):
    """The error response of a token endpoint (section 5.2), such as ``invalid_grant``."""

    error: Annotated[str, Field(max_length=100)]
    error_description: Annotated[str, Field(max_length=2000)] | None = None
