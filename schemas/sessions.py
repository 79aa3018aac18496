"""Sessions as their owner sees them and changes them."""

import datetime as dt
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from schemas.types import CamelCaseModel, FrozenModel
from schemas.users import Password

# Its owner logged out; its owner ended it from another session; a spent refresh token was
# shown again; the password was changed; an admin took a role away; Redis has forgotten it;
# the account was closed.
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
    """A session that can still be used. ``current`` is the one that the request was made in."""

    id: str
    device: str | None
    address: str | None
    started_at: dt.datetime
    last_used_at: dt.datetime
    current: bool


class SessionSelection(FrozenModel):
    """Which of the caller's sessions to end; without an id all but the caller's own."""

    session_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None


class PasswordChange(CamelCaseModel):
    """The body of ``POST /api/v1/auth/password``; the password is that of the caller's account."""

    current_password: Annotated[str, Field(min_length=1, max_length=128, repr=False)]
    new_password: Password


class AccountPasswordChange(PasswordChange):
    """The same as the auth worker is asked for it: whose password it is."""

    account: UUID
