"""Verifies a password and starts a session.

An unknown address and a wrong password take the same time and get the same reply.
"""

from handlers.auth.commands import StartSession
from handlers.auth.replies import error_reply, token_reply
from handlers.auth.requests import AuthRequest
from handlers.auth.results import AuthResult, PreparedRequest, session_started_event
from infra.errors import Transient
from infra.messaging.context import Context
from infra.resources import Resources
from infra.security.email_address import InvalidEmail, normalise_email
from infra.storage.sessions import insert_session
from infra.storage.users import UserRow, find_user_row, replace_password_hash
from schemas.users import Login

WRONG_CREDENTIALS = error_reply(401, "INVALID_CREDENTIALS", "E-mail address or password is wrong.")


async def prepare_login(
    request: AuthRequest, login: Login, resources: Resources
) -> PreparedRequest | AuthResult:
    """Verify the password, rehash it if its hash is outdated, and issue a refresh token."""
    row = await _find_user(login.email, resources)
    stored = row.password_hash if row else None
    matches = await resources.passwords.verify(login.password, stored)
    if row is None or not matches:
        return AuthResult(request, WRONG_CREDENTIALS, subject=str(row.user.id) if row else None)
    new_hash = None
    if resources.passwords.is_outdated(row.password_hash):
        new_hash = await resources.passwords.hash(login.password)
    issued = await resources.keys.refresh_tokens.issue(row.user.id)
    return PreparedRequest(request, StartSession(row, issued, status=200, new_hash=new_hash))


async def _find_user(email: str, resources: Resources) -> UserRow | None:
    try:
        normalised = normalise_email(email)
    except InvalidEmail:
        return None
    async with resources.engine.connect() as connection:
        return await find_user_row(connection, normalised)


async def start_session(
    prepared: PreparedRequest, command: StartSession, ctx: Context
) -> AuthResult:
    """Write the session, and the new hash if there is one.

    Raises ``Transient`` when the password was changed since it was verified.
    """
    user, session = command.row.user, command.issued.session
    known, new_hash = command.row.password_hash, command.new_hash
    if new_hash and await replace_password_hash(ctx.tx, user.id, known, new_hash):
        known = new_hash
    if not await insert_session(ctx.tx, session, known, prepared.client, ctx.now):
        raise Transient("the password has just been changed")
    return prepared.result(
        token_reply(command.status, ctx.resources, user, command.issued),
        [session_started_event(prepared.request, session)],
        actor=user.id,
        subject=session.id,
    )
