"""What the requests about sessions come to: log in, refresh, log out, end, another password.

Redis is asked first, whose token is good; the table of sessions has the last word.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from events import (
    ApiKeyCreateRequested,
    ApiKeyRevokeRequested,
    LoginRequested,
    LogoutRequested,
    PasswordChangeRequested,
    PlatformConnectRequested,
    PlatformDisconnectRequested,
    RefreshRequested,
    SessionEndRequested,
    UserRoleChangeRequested,
)
from events.envelope import Event, now
from handlers.auth.admin_commands import take_order
from handlers.auth.login import log_in
from handlers.auth.password_change import change_password
from handlers.auth.platform_accounts import connect, disconnect
from handlers.auth.requests import (
    DONE,
    Answer,
    Finish,
    Sealed,
    details_of,
    invalid,
    open_sealed,
    refusal,
    sessions_of,
    tokens_reply,
)
from handlers.auth.session_revocation import ending, ending_own
from infra.messaging.context import Context
from infra.resources import Resources
from infra.security.refresh_tokens import (
    InvalidRefreshToken,
    IssuedToken,
    RefreshTokenReused,
    SessionEnded,
)
from infra.security.sealed_box import InvalidBox
from infra.storage.sessions import find_session_state, record_refresh
from schemas.api_keys import ApiKeyCreate, ApiKeyRef
from schemas.platform_accounts import AuthorizationCodeGrant, PlatformAccountRef
from schemas.sessions import AccountPasswordChange, SessionSelection
from schemas.types import FrozenModel
from schemas.users import Login, Refresh, RoleAssignment

INVALID = refusal(401, "INVALID_TOKEN", "The refresh token is not valid.")
REUSED = refusal(401, "TOKEN_REUSED", "The refresh token was used before; log in again.")


async def open_session(request: Sealed, resources: Resources) -> Answer:
    """Do what a request asks for, all but the writing, or answer why not."""
    action = ACTIONS[type(request)]
    try:
        body, client = open_sealed(request, action.shape, resources.settings)
    except InvalidBox as broken:
        return Answer(request, refusal(400, "VALIDATION_ERROR", str(broken)))
    except ValidationError as error:
        return Answer(request, invalid(details_of(error)))
    return replace(await _act(action, request, body, resources), client=client)


async def _act(
    action: "Action", request: Sealed, body: FrozenModel, resources: Resources
) -> Answer:
    try:
        return await action.run(request, body, resources)
    except InvalidRefreshToken:
        return Answer(request, INVALID)
    except SessionEnded as over:
        # If its row does not say so yet, then Redis has lost it.
        lost = ending(over.session_id, "redis_lost")
        return Answer(request, INVALID, finish=lost, subject=over.session_id)
    except RefreshTokenReused as reuse:
        ended = reuse.session
        end = ending(ended.id, "reuse")
        return Answer(request, REUSED, finish=end, actor=ended.user_id, subject=ended.id)


async def _refresh(request: Sealed, body: Refresh, resources: Resources) -> Answer:
    issued = await sessions_of(resources).rotate(body.refresh_token)
    async with resources.engine.connect() as connection:
        standing = await find_session_state(connection, issued.session.id)
    if standing is None or not standing.allows(issued, resources.settings, now()):
        await sessions_of(resources).revoke([issued.session.id])
        raise SessionEnded(issued.session.id)
    user = standing.user
    reply = tokens_reply(200, resources.settings, user, issued, with_user=False)
    go_on = _going_on(issued)
    return Answer(request, reply, finish=go_on, actor=user.id, subject=issued.session.id)


def _going_on(issued: IssuedToken) -> Finish:
    """Write the use of a session down; it may have ended since we looked."""

    async def go_on(answer: Answer, ctx: Context) -> Answer:
        if await record_refresh(ctx.tx, issued, answer.client, ctx.now):
            return answer
        return replace(answer, reply=INVALID)

    return go_on


async def _log_out(request: Sealed, body: Refresh, resources: Resources) -> Answer:
    """End a session; a spent token will do, for who holds it had the session."""
    session_id = sessions_of(resources).parse_session_id(body.refresh_token)
    return Answer(request, DONE, finish=ending(session_id, "logout"), subject=session_id)


async def _end(request: Sealed, body: SessionSelection, _: Resources) -> Answer:
    return Answer(request, DONE, finish=ending_own(body), subject=body.session_id)


@dataclass(frozen=True, slots=True)
class Action:
    """What a request asks for: the shape of its body, and who does it."""

    shape: type[FrozenModel]
    run: Callable[[Sealed, Any, Resources], Awaitable[Answer]]


ACTIONS: Mapping[type[Event], Action] = {
    LoginRequested: Action(Login, log_in),
    RefreshRequested: Action(Refresh, _refresh),
    LogoutRequested: Action(Refresh, _log_out),
    SessionEndRequested: Action(SessionSelection, _end),
    PasswordChangeRequested: Action(AccountPasswordChange, change_password),
    ApiKeyCreateRequested: Action(ApiKeyCreate, take_order),
    ApiKeyRevokeRequested: Action(ApiKeyRef, take_order),
    UserRoleChangeRequested: Action(RoleAssignment, take_order),
    PlatformConnectRequested: Action(AuthorizationCodeGrant, connect),
    PlatformDisconnectRequested: Action(PlatformAccountRef, disconnect),
}
