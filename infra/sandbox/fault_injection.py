"""Fault injection: the body of ``PUT /_control/{platform}``."""

from typing import Annotated

from pydantic import Field

from schemas.types import FrozenModel

FaultRate = Annotated[float, Field(ge=0, le=1, description="Share of the calls, 0 to 1")]
Phrase = Annotated[str, Field(min_length=1, max_length=100)]

MALFORMED = (b'{"id": ', b"<html>bad gateway</html>", b"[]", b'{"campaign": {}}', b"")


class Faults(FrozenModel):
    """The injected faults of a platform. Only ``outage`` affects the token endpoint's availability.

    ``lost_rate`` and ``malformed`` hit after the call took effect: the client cannot know.
    """

    outage: bool = Field(default=False, description="503 to every call, for tokens too")
    error_rate: FaultRate = Field(default=0, description="500 before anything is done")
    lost_rate: FaultRate = Field(default=0, description="Done, then the connection is aborted")
    malformed: FaultRate = Field(default=0, description="Done, then answered with a malformed body")
    latency_ms: Annotated[int, Field(ge=0, le=60_000)] = Field(
        default=0, description="Delay of every call"
    )
    rate_limit: Annotated[int, Field(ge=0, le=100_000)] | None = Field(
        default=None, description="Calls a second; 429 above; 0 refuses all"
    )
    retry_after: Annotated[int, Field(ge=0, le=3600)] = Field(
        default=1, description="Seconds, in the 429 and come_again answers"
    )
    come_again: Annotated[int, Field(ge=300, le=599)] | None = Field(
        default=None, description="This status to every call, with retry_after"
    )
    refuse_names: Annotated[tuple[Phrase, ...], Field(max_length=100)] = Field(
        default=(), description="A name that contains one of these is refused as a business rule"
    )
    refuse_credentials: bool = Field(default=False, description="401 at the token endpoint")
    token_seconds: Annotated[int, Field(ge=0, le=86_400)] = Field(
        default=3600, description="Life of the tokens that are issued from now on"
    )
    consent_error: Annotated[str, Field(max_length=100)] | None = Field(
        default=None, description="The error of every authorization request"
    )
    wrong_issuer: bool = Field(default=False, description="It returns another issuer")
    refuse_codes: bool = Field(default=False, description="invalid_grant to every code")
    refuse_refresh: bool = Field(default=False, description="invalid_grant to every refresh")
    times: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="The faults are cleared after so many faulty answers"
    )
