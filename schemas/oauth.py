"""OAuth 2.0 as a client of it sees it (RFC 6749)."""

from typing import Annotated

from pydantic import Field, SecretStr

from schemas.base import Tolerant


class AccessToken(Tolerant):
    """A token endpoint's answer (section 5.1); ``expires_in`` is its life in seconds.

    The life is recommended, not required; where it is missing we take a short one.
    """

    access_token: Annotated[SecretStr, Field(min_length=1, max_length=4096)]
    expires_in: Annotated[int, Field(ge=0)] = 60
