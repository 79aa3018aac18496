"""Events about users and sessions; credentials are encrypted for the auth worker."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from events.envelope import Event, EventData
from schemas.sessions import SessionEndReason
from schemas.users import Role

# Base64url of a sealed box. The longest content is a platform's authorization code
# (schemas.platform_accounts): 8,000 characters, up to 48,000 bytes of JSON if each is escaped.
SealedBoxText = Annotated[
    str, Field(min_length=1, max_length=96 * 1024, pattern=r"^[A-Za-z0-9_-]+$")
]


class EncryptedRequestData(EventData):
    """Credentials or a token, encrypted with the auth worker's public key."""

    sealed: SealedBoxText


class EncryptedRequest(Event):
    """A request that only the auth worker can decrypt.

    All except registrations are published on ``adrelay.requests`` only.
    """

    data: EncryptedRequestData


class RegistrationRequested(EncryptedRequest):
    """A client asks to create an account."""

    type: Literal["registration.requested.v1"] = "registration.requested.v1"


class LoginRequested(EncryptedRequest):
    """A client asks to start a session."""

    type: Literal["login.requested.v1"] = "login.requested.v1"


class RefreshRequested(EncryptedRequest):
    """A client asks for new tokens in exchange for a refresh token."""

    type: Literal["refresh.requested.v1"] = "refresh.requested.v1"


class LogoutRequested(EncryptedRequest):
    """A client asks to end its session."""

    type: Literal["logout.requested.v1"] = "logout.requested.v1"


class SessionEndRequested(EncryptedRequest):
    """A user asks to end one of their sessions, or all but the current one."""

    type: Literal["session.end_requested.v1"] = "session.end_requested.v1"


class PasswordChangeRequested(EncryptedRequest):
    """A user asks to change their password."""

    type: Literal["password.change_requested.v1"] = "password.change_requested.v1"


class UserRoleChangeRequested(EncryptedRequest):
    """An admin asks to change the role of a user."""

    type: Literal["user.role_change_requested.v1"] = "user.role_change_requested.v1"


class UserRegisteredData(EventData):
    """The user by id, and the role it has."""

    user_id: UUID
    role: Role


class UserRegistered(Event):
    """An account was created."""

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
    """The new role of a user, and the one before."""

    user_id: UUID
    role: Role
    previous: Role


class UserRoleChanged(Event):
    """The role of a user changed."""

    type: Literal["user.role_changed.v1"] = "user.role_changed.v1"
    data: UserRoleChangedData


class SessionStartedData(EventData):
    """A session: one login and the refresh tokens issued from it."""

    user_id: UUID
    session_id: str


class SessionStarted(Event):
    """A login succeeded and started a session."""

    type: Literal["session.started.v1"] = "session.started.v1"
    data: SessionStartedData


class SessionRevokedData(EventData):
    """A session that has ended, and why."""

    user_id: UUID
    session_id: str
    reason: SessionEndReason | None = None


class SessionRevoked(Event):
    """A session ended: it cannot be refreshed. Its last access token is valid until it expires."""

    type: Literal["session.revoked.v1"] = "session.revoked.v1"
    data: SessionRevokedData
