"""Users, credentials and tokens in requests and answers of the API."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from schemas.types import CamelCaseModel, FrozenModel

Role = Literal["admin", "manager", "viewer"]

Email = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=254)]
Password = Annotated[str, Field(min_length=12, max_length=128, repr=False)]


class ClientInfo(FrozenModel):
    """The client of a request: address, device, and account and session if logged in."""

    address: str | None = None
    device: Annotated[str, Field(max_length=200)] | None = None
    account: UUID | None = None
    session_id: str | None = None


class AuthRequestPayload(FrozenModel):
    """The content that the ingress encrypts for the auth worker: request body and client."""

    body: dict[str, Any]
    client: ClientInfo = ClientInfo()


class Registration(CamelCaseModel):
    """The body of ``POST /api/v1/auth/register``."""

    email: Email
    password: Password


class KeyedRegistration(Registration):
    """The request to the auth worker.

    ``registration_id`` is a keyed hash of the request's ``Idempotency-Key``, None without one.
    """

    registration_id: UUID | None = None


class Login(CamelCaseModel):
    """The body of ``POST /api/v1/auth/login``."""

    email: Email
    password: Annotated[str, Field(min_length=1, max_length=128, repr=False)]


class Refresh(CamelCaseModel):
    """The body of ``POST /api/v1/auth/refresh`` and ``logout``."""

    refresh_token: Annotated[str, Field(min_length=1, max_length=512, repr=False)]


class User(FrozenModel):
    """A user without secrets."""

    id: UUID
    email: str
    role: Role


class UserSummary(User):
    """A user in a list."""

    created_at: datetime


class RoleUpdate(CamelCaseModel):
    """The body of ``PATCH /api/v1/users/{id}``."""

    role: Role


class RoleAssignment(FrozenModel):
    """The user whose role an admin sets, and the new role."""

    id: UUID
    role: Role


class SessionTokens(FrozenModel):
    """The answer to a login or a refresh; ``expires_in`` is the access token's life in seconds."""

    user: User | None = None
    access_token: Annotated[str, Field(repr=False)]
    refresh_token: Annotated[str, Field(repr=False)]
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - RFC 6750's word, not a secret
    expires_in: int
