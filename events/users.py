"""Accounts and sessions. Credentials travel sealed: only the auth worker can open them."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from events.envelope import Event, EventData
from schemas.sessions import SessionEndReason
from schemas.users import Role

# Base64 of a sealed box; 4 KiB hold any credentials and refresh token with room to spare.
# The longest is a platform's code: 8,000 characters, which are 48,000 bytes of JSON if each has to
# be escaped, in base64 after sealing (schemas.platform_accounts).
SealedBoxText = Annotated[
    str, Field(min_length=1, max_length=96 * 1024, pattern=r"^[A-Za-z0-9_-]+$")
]


class EncryptedRequestData(EventData):
    """Credentials or a token, sealed to the auth worker's public key."""

    sealed: SealedBoxText


class EncryptedRequest(Event):
    """A request that only the auth worker can open.

    All but a registration travel on ``adrelay.requests`` only.
    """

    data: EncryptedRequestData


class RegistrationRequested(EncryptedRequest):
    """Somebody wants an account."""

    type: Literal["registration.requested.v1"] = "registration.requested.v1"


class LoginRequested(EncryptedRequest):
    """Somebody wants a session."""

    type: Literal["login.requested.v1"] = "login.requested.v1"


class RefreshRequested(EncryptedRequest):
    """Somebody wants new tokens for a refresh token."""

    type: Literal["refresh.requested.v1"] = "refresh.requested.v1"


class LogoutRequested(EncryptedRequest):
    """Somebody wants to end a session."""

    type: Literal["logout.requested.v1"] = "logout.requested.v1"


class SessionEndRequested(EncryptedRequest):
    """Somebody wants to end a session of their own, or all others."""

    type: Literal["session.end_requested.v1"] = "session.end_requested.v1"


class PasswordChangeRequested(EncryptedRequest):
    """Somebody wants another password."""

    type: Literal["password.change_requested.v1"] = "password.change_requested.v1"


class UserRoleChangeRequested(EncryptedRequest):
    """An admin wants an account to have another role."""

    type: Literal["user.role_change_requested.v1"] = "user.role_change_requested.v1"


class UserRegisteredData(EventData):
    """An account by id."""

    user_id: UUID
    role: Role


class UserRegistered(Event):
    """An account exists."""

    type: Literal["user.registered.v1"] = "user.registered.v1"
    data: UserRegisteredData


class UserPasswordChangedData(EventData):
    """The user by id, and the role it has."""

    user_id: UUID
    role: Role


class UserPasswordChanged(Event):
    """A user has a new password; the user's other sessions have ended."""

    type: Literal["user.password_changed.v1"] = "user.password_changed.v1"
    data: UserPasswordChangedData


class UserRoleChangedData(EventData):
    """An account's role, and the one before."""

    user_id: UUID
    role: Role
    previous: Role


class UserRoleChanged(Event):
    """An account may do something else than before."""

    type: Literal["user.role_changed.v1"] = "user.role_changed.v1"
    data: UserRoleChangedData


class SessionStartedData(EventData):
    """A session: one login and the refresh tokens that descend from it."""

    user_id: UUID
    session_id: str


class SessionStarted(Event):
    """A login succeeded."""

    type: Literal["session.started.v1"] = "session.started.v1"
    data: SessionStartedData


class SessionRevokedData(EventData):
    """A session that has ended, and why."""

    user_id: UUID
    session_id: str
    reason: SessionEndReason | None = None


class SessionRevoked(Event):
    """A session is over: nothing is refreshed any more, and its last access token expires."""

    type: Literal["session.revoked.v1"] = "session.revoked.v1"
    data: SessionRevokedData
