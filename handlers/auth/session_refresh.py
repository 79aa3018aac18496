"""Rotates the refresh token of a session, and logs a session out."""

from events.envelope import now
from handlers.auth.commands import RecordRefresh, RevokeSession
from handlers.auth.replies import NO_CONTENT, error_reply, token_reply
from handlers.auth.requests import AuthRequest
from handlers.auth.results import AuthResult, PreparedRequest
from infra.messaging.context import Context
from infra.resources import Resources
from infra.security.refresh_token_rotation import SessionEnded
from infra.storage.sessions import find_session_state
from infra.storage.sessions import record_refresh as write_refresh
from schemas.users import Refresh

INVALID_REFRESH_TOKEN = error_reply(401, "INVALID_TOKEN", "The refresh token is not valid.")
REFRESH_TOKEN_REUSED = error_reply(
    401, "TOKEN_REUSED", "The refresh token was used before; log in again."
)


async def prepare_refresh(
    request: AuthRequest, body: Refresh, resources: Resources
) -> PreparedRequest:
    """Rotate the refresh token in Redis and check its session in Postgres.

    Raises what ``RefreshTokenStore.rotate`` raises, and ``SessionEnded`` when Postgres does not
    allow the refresh.
    """
    store = resources.keys.refresh_tokens
    issued = await store.rotate(body.refresh_token)
    async with resources.engine.connect() as connection:
        state = await find_session_state(connection, issued.session.id)
    if state is None or not state.allows(issued, resources.settings, now()):
        await store.revoke([issued.session.id])
        raise SessionEnded(issued.session.id)
    reply = token_reply(200, resources, state.user, issued, with_user=False)
    return PreparedRequest(
        request, RecordRefresh(issued, reply), actor=state.user.id, subject=issued.session.id
    )


async def record_refresh(
    prepared: PreparedRequest, command: RecordRefresh, ctx: Context
) -> AuthResult:
    """Record the refresh, unless the session has ended since it was checked."""
    recorded = await write_refresh(ctx.tx, command.issued, prepared.client, ctx.now)
    return prepared.result(command.reply if recorded else INVALID_REFRESH_TOKEN)


async def prepare_logout(
    request: AuthRequest, body: Refresh, resources: Resources
) -> PreparedRequest:
    """Prepare to end the session of a refresh token.

    A spent token is accepted: its holder had the session. Raises ``InvalidRefreshToken``.
    """
    session_id = resources.keys.refresh_tokens.parse_session_id(body.refresh_token)
    command = RevokeSession(session_id, "logout", NO_CONTENT)
    return PreparedRequest(request, command, subject=session_id)
