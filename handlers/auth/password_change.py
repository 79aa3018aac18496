"""Changes a password; requires the current one and ends all other sessions.

A wrong current password gets 403: the access token was good, and after a 401 clients would
discard it. The error code is that of a failed login, for rules that count those.
"""

from events import UserPasswordChanged
from events.sources import AUTH_SOURCE
from events.users import UserPasswordChangedData
from handlers.auth.commands import ChangePassword
from handlers.auth.replies import NO_CONTENT, error_reply, validation_reply
from handlers.auth.requests import AuthRequest
from handlers.auth.results import AuthResult, PreparedRequest
from handlers.auth.session_revocation import SESSION_ENDED, revoked_events
from infra.messaging.context import Context
from infra.resources import Resources
from infra.security.passwords import check_strength
from infra.storage.sessions import end_sessions_of, expiry_cutoff, is_live
from infra.storage.users import find_user_row, replace_password_hash
from schemas.sessions import AccountPasswordChange

WRONG_PASSWORD = error_reply(403, "INVALID_CREDENTIALS", "The current password is wrong.")


async def prepare_password_change(
    request: AuthRequest, body: AccountPasswordChange, resources: Resources
) -> PreparedRequest | AuthResult:
    """Verify the current password and hash the new one."""
    weakness = check_strength(body.new_password)
    if weakness is not None:
        details = [{"field": "new_password", "message": weakness}]
        return AuthResult(request, validation_reply(details))
    async with resources.engine.connect() as connection:
        row = await find_user_row(connection, body.account)
    stored = row.password_hash if row else None
    matches = await resources.passwords.verify(body.current_password, stored)
    if row is None or not matches:
        return AuthResult(request, WRONG_PASSWORD, subject=str(body.account))
    new_hash = await resources.passwords.hash(body.new_password)
    return PreparedRequest(request, ChangePassword(row, new_hash), subject=str(body.account))


async def change_password(
    prepared: PreparedRequest, command: ChangePassword, ctx: Context
) -> AuthResult:
    """Replace the hash and end all sessions of the account but the caller's own."""
    user, own = command.row.user, prepared.client.session_id
    since = expiry_cutoff(ctx.resources.settings, ctx.now)
    if not await is_live(ctx.tx, own, user.id, since):
        return prepared.result(SESSION_ENDED)
    # Locks the account: a login that is under way waits, and then its old hash does not match.
    known = command.row.password_hash
    if not await replace_password_hash(ctx.tx, user.id, known, command.new_hash):
        return prepared.result(WRONG_PASSWORD)
    ended = await end_sessions_of(
        ctx.tx, user.id, "password_changed", since=since, at=ctx.now, but=own
    )
    changed = UserPasswordChanged.caused_by(
        prepared.request,
        source=AUTH_SOURCE,
        data=UserPasswordChangedData(user_id=user.id, role=user.role),
    )
    revoked = revoked_events(prepared.request, ended, "password_changed", ctx)
    return prepared.result(NO_CONTENT, [changed, *revoked], actor=user.id)
