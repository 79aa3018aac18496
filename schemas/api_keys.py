"""API keys as admins create and list them; the key itself is returned once, at creation."""

import re
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from schemas.source_namespace import RESERVED_SOURCE_PREFIX, is_reserved_source
from schemas.times import UtcDatetime
from schemas.types import CamelCaseModel, FrozenModel

PUBLISH_SCOPE = "events:publish"
READ_EVENTS_SCOPE = "events:read"
KEY_SCOPES: tuple[str, ...] = (
    "campaigns:read",
    "campaigns:write",
    PUBLISH_SCOPE,
    READ_EVENTS_SCOPE,
)
MAX_ITEMS = 20  # scopes of one key, and sources of one key
SCOPED_PUBLISH = re.compile(rf"{PUBLISH_SCOPE}:[a-z0-9_.*]+", re.ASCII)

# No control characters: Postgres rejects NUL in text, and no name needs the others.
_PLAIN = r"^[^\x00-\x1f\x7f]*$"
ApiKeyName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=_PLAIN)
]
ApiKeyScope = Annotated[str, Field(max_length=120)]
ApiKeySource = Annotated[str, Field(min_length=1, max_length=200, pattern=_PLAIN)]


class ApiKeyCreate(CamelCaseModel):
    """The body of ``POST /api/v1/api-keys``; without ``owner_id`` the creator owns the key.

    ``events:publish:campaign.*`` allows the event types that the pattern after the last colon
    matches, ``events:publish`` all of them; ``sources`` are the CloudEvents sources that events
    published with the key may have.
    """

    name: ApiKeyName
    scopes: Annotated[tuple[ApiKeyScope, ...], Field(min_length=1, max_length=MAX_ITEMS)]
    sources: Annotated[
        tuple[ApiKeySource, ...], Field(max_length=MAX_ITEMS, validate_default=True)
    ] = ()
    owner_id: UUID | None = None
    expires_at: UtcDatetime | None = None

    @field_validator("scopes", "sources")
    @classmethod
    def _without_duplicates(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(values))

    @field_validator("scopes")
    @classmethod
    def _check_scopes(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        if not all(scope in KEY_SCOPES or SCOPED_PUBLISH.fullmatch(scope) for scope in scopes):
            message = f"must each be one of {', '.join(KEY_SCOPES)}, {PUBLISH_SCOPE}:<pattern>"
            raise ValueError(message)
        return scopes

    @field_validator("sources")
    @classmethod
    def _check_sources(cls, sources: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if any(map(is_reserved_source, sources)):
            message = f"must not begin with {RESERVED_SOURCE_PREFIX}, in any spelling"
            raise ValueError(message)
        publishes = any(scope.startswith(PUBLISH_SCOPE) for scope in info.data.get("scopes", ()))
        if publishes and not sources:
            message = f"must name a source at least, for a key that holds {PUBLISH_SCOPE}"
            raise ValueError(message)
        return sources


class ApiKeyRef(FrozenModel):
    """The key that an admin's request is about."""

    id: UUID


class ApiKeySummary(FrozenModel):
    """A key in a list; ``last_used_at`` is exact to one minute."""

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


class NewApiKey(ApiKeySummary):
    """The answer to the creation of a key; no other answer contains ``key``."""

    key: Annotated[str, Field(repr=False)]
