"""OAuth 2.0 as a client of it sees it (RFC 6749)."""

from typing import Annotated

from pydantic import Field, SecretStr

from schemas.types import ExternalModel

# Far beyond any header that could carry it; RFC 6749 names no limit.
OAuthToken = Annotated[SecretStr, Field(min_length=1, max_length=16 * 1024)]


class AccessToken(ExternalModel):
    """A token endpoint's answer (section 5.1); ``expires_in`` is its life in seconds.

    The life is recommended, not required; where it is missing we take a short one.
    """

    access_token: OAuthToken
    expires_in: Annotated[int, Field(ge=0)] = 60


class TokenResponse(ExternalModel):
    """What an owner's consent yields (section 5.1), and each refresh of it (section 6).

    ``expires_in`` is seconds, None when the platform does not say; ``refresh_token`` is None
    when there is none or, at a refresh, when the old one stays; ``scope`` is None when it is
    what we asked for.
    """

    access_token: OAuthToken
    token_type: Annotated[str, Field(pattern=r"^[Bb][Ee][Aa][Rr][Ee][Rr]$")]
    expires_in: Annotated[int, Field(ge=0, le=10 * 365 * 86_400)] | None = None
    refresh_token: OAuthToken | None = None
    scope: Annotated[str, Field(max_length=2000)] | None = None


class TokenError(ExternalModel):
    """A token endpoint's refusal (section 5.2), such as ``invalid_grant``."""

    error: Annotated[str, Field(max_length=100)]
    error_description: Annotated[str, Field(max_length=2000)] | None = None
