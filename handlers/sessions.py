"""What a login, a refresh and a logout come to.

An unknown address and a wrong password cost the same time and are answered the same.
"""

from collections.abc import Awaitable, Callable, Mapping

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

WRONG = refusal(401, "INVALID_CREDENTIALS", "E-mail address or password is wrong.")
INVALID = refusal(401, "INVALID_TOKEN", "The refresh token is not valid.")
REUSED = refusal(401, "TOKEN_REUSED", "The refresh token was used before; log in again.")
DONE = {"status": 204, "data": None}


async def open_session(request: Sealed, resources: Resources) -> Answer:
    """Do what a request asks for, all but the writing, or answer why not."""
    try:
        return await ACTIONS[type(request)](request, resources)
    except SealBroken as broken:
        return Answer(request, refusal(400, "VALIDATION_ERROR", str(broken)))
    except ValidationError as error:
        return Answer(request, invalid(details_of(error)))
    except InvalidRefreshToken:
        return Answer(request, INVALID)
    except RefreshTokenReused as reuse:
        return Answer(request, REUSED, (_revoked(request, reuse.session),))


async def _log_in(request: Sealed, resources: Resources) -> Answer:
    login = open_sealed(request, Login, resources.settings)
    try:
        account = await account_of(resources, normalise_email(login.email))
    except InvalidEmail:
        account = None
    stored = account.password_hash if account else None
    fits = await resources.passwords.verify(login.password, stored)
    if account is None or not fits:
        return Answer(request, WRONG)
    rehash = None
    if resources.passwords.is_outdated(account.password_hash):
        fresh = await resources.passwords.hash(login.password)
        rehash = Rehash(account.user, account.password_hash, fresh)
    issued = await sessions_of(resources).start(account.user.id)
    reply = tokens_reply(200, resources.settings, account.user, issued)
    return Answer(request, reply, (started(request, issued.session),), rehash)


async def _refresh(request: Sealed, resources: Resources) -> Answer:
    body = open_sealed(request, Refresh, resources.settings)
    sessions = sessions_of(resources)
    issued = await sessions.rotate(body.refresh_token)
    async with resources.engine.connect() as connection:
        user = await find_user(connection, issued.session.user_id)
    if user is None:
        await sessions.end(issued.refresh_token)
        raise InvalidRefreshToken("the account is gone")
    reply = tokens_reply(200, resources.settings, user, issued, with_user=False)
    return Answer(request, reply)


async def _log_out(request: Sealed, resources: Resources) -> Answer:
    body = open_sealed(request, Refresh, resources.settings)
    session = await sessions_of(resources).end(body.refresh_token)
    return Answer(request, DONE, (_revoked(request, session),) if session else ())


ACTIONS: Mapping[type[Event], Callable[[Sealed, Resources], Awaitable[Answer]]] = {
    LoginRequested: _log_in,
    RefreshRequested: _refresh,
    LogoutRequested: _log_out,
}


def _revoked(request: Event, session: Session) -> SessionRevoked:
    """Tell that a session has ended; it ends once, so the event has one id."""
    data = SessionRef(user_id=session.user_id, session_id=session.id)
    return SessionRevoked.caused_by(request, id=f"revoked:{session.id}", source=SOURCE, data=data)
