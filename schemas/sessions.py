"""Sessions as their owner lists and ends them, and password changes."""

import datetime as dt
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from schemas.types import CamelCaseModel, FrozenModel
from schemas.users import Password

# reuse: a refresh token was presented a second time; role_reduced: an admin gave the user a
# role with fewer scopes; redis_lost: Redis no longer has the session, or an older state of it.
SessionEndReason = Literal[
    "logout",
    "revoked_by_user",
    "reuse",
    "password_changed",
    "role_reduced",
    "redis_lost",
    "account_closed",
]


class ActiveSession(FrozenModel):
    """A session that can be refreshed; ``current`` is the session of the request."""

    id: str
    device: str | None
    address: str | None
    started_at: dt.datetime
    last_used_at: dt.datetime
    current: bool


class SessionSelection(FrozenModel):
    """The session to end; without an id all sessions of the caller but the current one."""

    session_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None


class PasswordChange(CamelCaseModel):
    """The body of ``POST /api/v1/auth/password``: the caller's current and new password."""

    current_password: Annotated[str, Field(min_length=1, max_length=128, repr=False)]
    new_password: Password


class AccountPasswordChange(PasswordChange):
    """The request to the auth worker: the change, and the account to change."""

    account: UUID
