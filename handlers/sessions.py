"""What a login, a refresh and a logout come to.

An unknown address and a wrong password cost the same time and are answered the same.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from events import LoginRequested, LogoutRequested, RefreshRequested, SessionRevoked
from events.base import Event
from events.users import SessionRef
from handlers.credentials import (
    SOURCE,
    Answer,
    Rehash,
    Sealed,
    account_of,
    details_of,
    invalid,
    open_sealed,
    refusal,
    sessions_of,
    started,
    tokens_reply,
)
from infra.emails import InvalidEmail, normalise_email
from infra.resources import Resources
from infra.seal import SealBroken
from infra.sessions import InvalidRefreshToken, RefreshTokenReused, Session
from infra.store.accounts import find_user
from schemas.accounts import Login, Refresh
from schemas.base import Frozen

WRONG = refusal(401, "INVALID_CREDENTIALS", "E-mail address or password is wrong.")
INVALID = refusal(401, "INVALID_TOKEN", "The refresh token is not valid.")
REUSED = refusal(401, "TOKEN_REUSED", "The refresh token was used before; log in again.")
DONE = {"status": 204, "data": None}


async def open_session(request: Sealed, resources: Resources) -> Answer:
    """Do what a request asks for, all but the writing, or answer why not."""
    action = ACTIONS[type(request)]
    try:
        body, client = open_sealed(request, action.shape, resources.settings)
    except SealBroken as broken:
        return Answer(request, refusal(400, "VALIDATION_ERROR", str(broken)))
    except ValidationError as error:
        return Answer(request, invalid(details_of(error)))
    return replace(await _act(action, request, body, resources), client=client)


async def _act(action: "Action", request: Sealed, body: Frozen, resources: Resources) -> Answer:
    try:
        return await action.run(request, body, resources)
    except InvalidRefreshToken:
        return Answer(request, INVALID)
    except RefreshTokenReused as reuse:
        ended = reuse.session
        return Answer(
            request, REUSED, (_revoked(request, ended),), actor=ended.user_id, subject=ended.id
        )


async def _log_in(request: Sealed, login: Login, resources: Resources) -> Answer:
    try:
        account = await account_of(resources, normalise_email(login.email))
    except InvalidEmail:
        account = None
    stored = account.password_hash if account else None
    fits = await resources.passwords.verify(login.password, stored)
    if account is None or not fits:
        return Answer(request, WRONG, subject=str(account.user.id) if account else None)
    rehash = None
    if resources.passwords.is_outdated(account.password_hash):
        fresh = await resources.passwords.hash(login.password)
        rehash = Rehash(account.user, account.password_hash, fresh)
    issued = await sessions_of(resources).start(account.user.id)
    reply = tokens_reply(200, resources.settings, account.user, issued)
    caused = (started(request, issued.session),)
    return Answer(request, reply, caused, rehash, actor=account.user.id, subject=issued.session.id)


async def _refresh(request: Sealed, body: Refresh, resources: Resources) -> Answer:
    sessions = sessions_of(resources)
    issued = await sessions.rotate(body.refresh_token)
    async with resources.engine.connect() as connection:
        user = await find_user(connection, issued.session.user_id)
    if user is None:
        await sessions.end(issued.refresh_token)
        raise InvalidRefreshToken("the account is gone")
    reply = tokens_reply(200, resources.settings, user, issued, with_user=False)
    return Answer(request, reply, actor=user.id, subject=issued.session.id)


async def _log_out(request: Sealed, body: Refresh, resources: Resources) -> Answer:
    session = await sessions_of(resources).end(body.refresh_token)
    if session is None:
        return Answer(request, DONE)
    caused = (_revoked(request, session),)
    return Answer(request, DONE, caused, actor=session.user_id, subject=session.id)


@dataclass(frozen=True, slots=True)
class Action:
    """What a request asks for: the shape of its body, and who does it."""

    shape: type[Frozen]
    run: Callable[[Sealed, Any, Resources], Awaitable[Answer]]


ACTIONS: Mapping[type[Event], Action] = {
    LoginRequested: Action(Login, _log_in),
    RefreshRequested: Action(Refresh, _refresh),
    LogoutRequested: Action(Refresh, _log_out),
}


def _revoked(request: Event, session: Session) -> SessionRevoked:
    """Tell that a session has ended; it ends once, so the event has one id."""
    data = SessionRef(user_id=session.user_id, session_id=session.id)
    return SessionRevoked.caused_by(request, id=f"revoked:{session.id}", source=SOURCE, data=data)
