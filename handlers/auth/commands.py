"""Commands: what a prepared request writes in the transaction, as data.

    RegisterUser        users, sessions; or only sessions where the registration is a repetition
    StartSession        sessions, and users where the hash of the password is outdated
    RecordRefresh       sessions
    RevokeSession       sessions
    RevokeOwnSessions   sessions
    ChangePassword      users, sessions
    CreateApiKey        api_keys
    RevokeApiKey        api_keys
    ChangeRole          users, sessions
    ConnectAccount      platform_accounts
    DisconnectAccount   platform_accounts

``handlers.auth.handlers`` maps each to the function that applies it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from handlers.auth.replies import Reply
from infra.security.encryption import Ciphertext
from infra.security.oauth_tokens import TokenSchedule
from infra.security.refresh_token_rotation import IssuedToken
from infra.storage.users import UserRow
from schemas.api_keys import ApiKeyCreate
from schemas.sessions import SessionEndReason
from schemas.types import Platform
from schemas.users import KeyedRegistration, Role


@dataclass(frozen=True, slots=True)
class RegisterUser:
    """Add an account and its first session, unless the e-mail address is taken by then."""

    row: UserRow
    registration: KeyedRegistration = field(repr=False)
    issued: IssuedToken


@dataclass(frozen=True, slots=True)
class StartSession:
    """Add a session of an account whose password was verified.

    ``new_hash`` is a hash of the same password with the present parameters, which replaces an
    outdated one. ``status`` is that of the reply.
    """

    row: UserRow
    issued: IssuedToken
    status: int
    new_hash: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RecordRefresh:
    """Record a refresh of a session; ``reply`` holds the new tokens."""

    issued: IssuedToken
    reply: Reply = field(repr=False)


@dataclass(frozen=True, slots=True)
class RevokeSession:
    """End a session if it is live; the reply is ``reply`` in either case."""

    session_id: str
    reason: SessionEndReason
    reply: Reply


@dataclass(frozen=True, slots=True)
class RevokeOwnSessions:
    """End a session of the caller's account; without an id all but the caller's own."""

    session_id: str | None


@dataclass(frozen=True, slots=True)
class ChangePassword:
    """Replace the hash of a password, which was verified, and end all other sessions."""

    row: UserRow
    new_hash: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CreateApiKey:
    """Add an API key, for an admin."""

    key: ApiKeyCreate


@dataclass(frozen=True, slots=True)
class RevokeApiKey:
    """Revoke an API key, for an admin."""

    key_id: UUID


@dataclass(frozen=True, slots=True)
class ChangeRole:
    """Change the role of an account, for an admin; a lower role ends its sessions."""

    user_id: UUID
    role: Role


@dataclass(frozen=True, slots=True)
class ConnectAccount:
    """Store the encrypted tokens of an account at a platform."""

    user_id: UUID
    platform: Platform
    tokens: Ciphertext
    schedule: TokenSchedule
    scopes: Sequence[str]


@dataclass(frozen=True, slots=True)
class DisconnectAccount:
    """Mark an account at a platform for revocation, or delete it if it is disconnected."""

    user_id: UUID
    platform: Platform


Command = (
    RegisterUser
    | StartSession
    | RecordRefresh
    | RevokeSession
    | RevokeOwnSessions
    | ChangePassword
    | CreateApiKey
    | RevokeApiKey
    | ChangeRole
    | ConnectAccount
    | DisconnectAccount
)
