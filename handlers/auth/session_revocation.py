"""Revokes sessions: the row is marked in the transaction, Redis is cleared after the commit."""

from collections.abc import Sequence

from events import SessionRevoked
from events.envelope import Event
from events.sources import AUTH_SOURCE
from events.users import SessionRevokedData
from handlers.auth.commands import RevokeOwnSessions, RevokeSession
from handlers.auth.replies import NO_CONTENT, error_reply
from handlers.auth.requests import AuthRequest
from handlers.auth.results import AuthResult, PreparedRequest
from infra.messaging.context import Context
from infra.resources import Resources
from infra.security.refresh_token_rotation import Session
from infra.storage.sessions import end_session, end_sessions_of, expiry_cutoff, is_live
from schemas.sessions import SessionEndReason, SessionSelection

SESSION_ENDED = error_reply(401, "INVALID_TOKEN", "The session of this access token is over.")
UNKNOWN_SESSION = error_reply(404, "NOT_FOUND", "There is no such session.")


async def prepare_revocation(
    request: AuthRequest, body: SessionSelection, _: Resources
) -> PreparedRequest:
    """Prepare to end the caller's sessions; which are live is decided in the transaction."""
    return PreparedRequest(request, RevokeOwnSessions(body.session_id), subject=body.session_id)


async def revoke_session(
    prepared: PreparedRequest, command: RevokeSession, ctx: Context
) -> AuthResult:
    """End one session, unless it has ended already."""
    since = expiry_cutoff(ctx.resources.settings, ctx.now)
    ended = await end_session(ctx.tx, command.session_id, command.reason, since=since, at=ctx.now)
    revoked = revoked_events(prepared.request, ended, command.reason, ctx)
    owner = ended[0].user_id if ended else None
    return prepared.result(command.reply, revoked, actor=prepared.actor or owner)


async def revoke_own_sessions(
    prepared: PreparedRequest, command: RevokeOwnSessions, ctx: Context
) -> AuthResult:
    """End a session of the caller's account, or all but the caller's own."""
    account, own = prepared.client.account, prepared.client.session_id
    since = expiry_cutoff(ctx.resources.settings, ctx.now)
    if account is None or not await is_live(ctx.tx, own, account, since):
        return prepared.result(SESSION_ENDED)
    limits = {"since": since, "at": ctx.now}
    if command.session_id is None:
        ended = await end_sessions_of(ctx.tx, account, "revoked_by_user", but=own, **limits)
    else:
        ended = await end_session(
            ctx.tx, command.session_id, "revoked_by_user", user_id=account, **limits
        )
        if not ended:
            return prepared.result(UNKNOWN_SESSION)
    revoked = revoked_events(prepared.request, ended, "revoked_by_user", ctx)
    return prepared.result(NO_CONTENT, revoked)


def revoked_events(
    request: Event, ended: Sequence[Session], reason: SessionEndReason, ctx: Context
) -> list[SessionRevoked]:
    """Build the events of ended sessions, and delete them in Redis after the commit.

    Redis keeps a session that ended by reuse of a refresh token for a minute by itself, so that
    a redelivered request gets the same reply.
    """
    if reason != "reuse":
        ids = [session.id for session in ended]
        ctx.after_commit(lambda: ctx.resources.keys.refresh_tokens.revoke(ids))
    return [_revoked_event(request, session, reason) for session in ended]


def _revoked_event(request: Event, session: Session, reason: SessionEndReason) -> SessionRevoked:
    """Build the event of an ended session; a session ends once, so the event has one id."""
    data = SessionRevokedData(user_id=session.user_id, session_id=session.id, reason=reason)
    return SessionRevoked.caused_by(
        request, id=f"revoked:{session.id}", source=AUTH_SOURCE, data=data
    )
