"""API keys as admins make and see them; the key itself is shown once, when it is made."""

import re
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from schemas.sources import OURS, is_ours
from schemas.times import Moment
from schemas.types import Frozen, Lenient

PUBLISH = "events:publish"
KEY_SCOPES: tuple[str, ...] = ("campaigns:read", "campaigns:write", PUBLISH)
MOST = 20  # scopes, and sources, of one key
NARROWED = re.compile(rf"{PUBLISH}:[a-z0-9_.*]+", re.ASCII)

# No control characters: NUL is no text for Postgres, and the rest has no place in a name.
_PLAIN = r"^[^\x00-\x1f\x7f]*$"
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=_PLAIN)
]
Scope = Annotated[str, Field(max_length=120)]
Source = Annotated[str, Field(min_length=1, max_length=200, pattern=_PLAIN)]


class ApiKeyDraft(Lenient):
    """The body of ``POST /api/v1/api-keys``; without ``owner_id`` the key is its maker's own.

    ``events:publish:campaign.*`` covers the event types that the pattern after the last colon
    matches, ``events:publish`` all of them; ``sources`` are the CloudEvents sources that
    the key may speak for.
    """

    name: Name
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=MOST)]
    sources: Annotated[tuple[Source, ...], Field(max_length=MOST, validate_default=True)] = ()
    owner_id: UUID | None = None
    expires_at: Moment | None = None

    @field_validator("scopes", "sources")
    @classmethod
    def _once(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(values))

    @field_validator("scopes")
    @classmethod
    def _known(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        if not all(scope in KEY_SCOPES or NARROWED.fullmatch(scope) for scope in scopes):
            message = f"must each be one of {', '.join(KEY_SCOPES)}, {PUBLISH}:<pattern>"
            raise ValueError(message)
        return scopes

    @field_validator("sources")
    @classmethod
    def _may_be_spoken_for(cls, sources: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if any(map(is_ours, sources)):
            message = f"must not begin with {OURS}, in any spelling"
            raise ValueError(message)
        publishes = any(scope.startswith(PUBLISH) for scope in info.data.get("scopes", ()))
        if publishes and not sources:
            message = f"must name a source at least, for a key that holds {PUBLISH}"
            raise ValueError(message)
        return sources


class ApiKeyRef(Frozen):
    """Which key an admin means."""

    id: UUID


class ApiKeyEntry(Frozen):
    """A key as it is listed; ``last_used_at`` is exact to a minute."""

    id: UUID
    name: str
    prefix: str
    scopes: tuple[str, ...]
    sources: tuple[str, ...]
    owner_id: UUID
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


class NewApiKey(ApiKeyEntry):
    """The answer to who has made a key: the one time that the key is shown."""

    key: Annotated[str, Field(repr=False)]
