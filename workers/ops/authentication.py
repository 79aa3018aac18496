"""Finds who a request is from, and checks at every request that it may still come in.

    the access token   verified with public keys; expired: exchanged for the next one
    Postgres           whether the session has ended, and whether the account is an admin now

While Postgres is gone the access token alone decides, until it expires. While the auth worker
does not answer, an expired token is good as long as Postgres says that session and role are.
"""

from dataclasses import dataclass

from aiohttp import web

from events import LogoutRequested, RefreshRequested
from infra.errors import Outage
from infra.security.access_tokens import AccessTokenClaims, InvalidToken
from infra.storage.sessions import SessionState, find_session_state
from infra.web.errors import HttpError, unavailable
from infra.web.principal import Principal
from infra.web.request import RequestIds
from schemas.scopes import ROLE_SCOPES
from schemas.users import ClientInfo, Refresh
from workers.ops.session import COOKIE, ConsoleSession
from workers.ops.state import ConsoleState

UNAUTHORIZED = 401
UNKNOWN = "Who you are cannot be checked right now: Postgres and the auth worker do not answer."


@dataclass(frozen=True, slots=True)
class Visitor:
    """A session and its account; ``authenticate`` returns None for everybody else."""

    session: ConsoleSession
    principal: Principal


async def authenticate(
    request: web.Request, state: ConsoleState, client: ClientInfo, ids: RequestIds
) -> Visitor | None:
    """Find the visitor of a request; raises an ``HttpError`` (503) when nobody can be known."""
    session_id = request.cookies.get(COOKIE)
    if not session_id:
        return None
    session = await state.sessions.find(session_id)
    return None if session is None else await admit(state, session, client, ids)


async def admit(
    state: ConsoleState, session: ConsoleSession, client: ClientInfo, ids: RequestIds
) -> Visitor | None:
    """Check that a session is good now; ends it where it is not."""
    claims = _verify(state, session)
    known, recorded = await _ask_database(state, session)
    if known and (recorded is None or recorded.ended or recorded.user.role != "admin"):
        await end(state, session, client, ids)
        return None
    if claims is None:
        try:
            session = await _refresh(state, session, client, ids)
        except HttpError as error:
            if error.status == UNAUTHORIZED:
                await state.sessions.end(session.id)
                return None
            if not known:
                raise unavailable(UNKNOWN) from None
        else:
            claims = _verify(state, session)
    if claims is not None and claims.role != "admin":
        await end(state, session, client, ids)
        return None
    content = session.content
    principal = Principal(
        content.user_id,
        "admin",
        f"user:{content.user_id}",
        ROLE_SCOPES["admin"],
        content.auth_session_id,
    )
    return Visitor(session, principal)


async def end(
    state: ConsoleState, session: ConsoleSession, client: ClientInfo, ids: RequestIds
) -> None:
    """End a session here and at the auth worker, if that answers."""
    await state.sessions.end(session.id)
    body = Refresh(refresh_token=session.content.refresh_token)
    try:
        await state.auth_worker.call(LogoutRequested, body, client, ids)
    except HttpError:
        return


def _verify(state: ConsoleState, session: ConsoleSession) -> AccessTokenClaims | None:
    try:
        return state.verifier.verify(session.content.access_token)
    except InvalidToken:
        return None


async def _ask_database(
    state: ConsoleState, session: ConsoleSession
) -> tuple[bool, SessionState | None]:
    """Ask Postgres for the session; the first value is false when it does not answer."""
    try:
        found = await state.database.read(find_session_state, session.content.auth_session_id)
    except Outage:
        return False, None
    return True, found


async def _refresh(
    state: ConsoleState, session: ConsoleSession, client: ClientInfo, ids: RequestIds
) -> ConsoleSession:
    """Exchange the tokens of a session; raises an ``HttpError``: 401 when it is over, 503."""
    body = Refresh(refresh_token=session.content.refresh_token)
    answer = await state.auth_worker.call(RefreshRequested, body, client, ids)
    tokens = answer["data"]
    update = {name: tokens[name] for name in ("access_token", "refresh_token")}
    renewed = ConsoleSession(session.id, session.content.model_copy(update=update))
    await state.sessions.put(renewed)
    return renewed
