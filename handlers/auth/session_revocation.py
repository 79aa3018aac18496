"""Sessions that are over: the row says so in the transaction, Redis forgets them after it."""

from collections.abc import Sequence
from dataclasses import replace

from events import SessionRevoked
from events.envelope import Event
from events.sources import AUTH_SOURCE
from events.users import SessionRevokedData
from handlers.auth.requests import Answer, Finish, refusal, sessions_of
from infra.messaging.context import Context
from infra.security.refresh_tokens import Session
from infra.storage.sessions import end_session, end_sessions_of, expiry_cutoff, is_live
from schemas.sessions import SessionEndReason, SessionSelection

OVER = refusal(401, "INVALID_TOKEN", "The session of this access token is over.")
UNKNOWN = refusal(404, "NOT_FOUND", "There is no such session.")


def ending(session_id: str, reason: SessionEndReason) -> Finish:
    """End one session with the answer, unless it is over already."""

    async def end(answer: Answer, ctx: Context) -> Answer:
        since = expiry_cutoff(ctx.resources.settings, ctx.now)
        ended = await end_session(ctx.tx, session_id, reason, since=since, at=ctx.now)
        return told(answer, ended, reason, ctx)

    return end


def ending_own(wish: SessionSelection) -> Finish:
    """End a session of the caller's account, or all but the caller's own."""

    async def end(answer: Answer, ctx: Context) -> Answer:
        account, own = answer.client.account, answer.client.session_id
        since = expiry_cutoff(ctx.resources.settings, ctx.now)
        if account is None or not await is_live(ctx.tx, own, account, since):
            return replace(answer, reply=OVER)
        limits = {"since": since, "at": ctx.now}
        if wish.session_id is None:
            others = await end_sessions_of(ctx.tx, account, "revoked_by_user", but=own, **limits)
            return told(answer, others, "revoked_by_user", ctx)
        ended = await end_session(
            ctx.tx, wish.session_id, "revoked_by_user", user_id=account, **limits
        )
        return (
            told(answer, ended, "revoked_by_user", ctx) if ended else replace(answer, reply=UNKNOWN)
        )

    return end


def told(
    answer: Answer, ended: Sequence[Session], reason: SessionEndReason, ctx: Context
) -> Answer:
    """Add what sessions ended to an answer, and have Redis forget them after the commit.

    A family that ended by theft stays there for a minute by itself.
    """
    if reason != "reuse":
        ids = [session.id for session in ended]
        ctx.after_commit(lambda: sessions_of(ctx.resources).revoke(ids))
    news = [_revoked(answer.request, session, reason) for session in ended]
    return replace(
        answer,
        caused=(*answer.caused, *news),
        actor=answer.actor or (ended[0].user_id if ended else None),
    )


def _revoked(request: Event, session: Session, reason: SessionEndReason) -> SessionRevoked:
    """Tell that a session has ended; it ends once, so the event has one id."""
    data = SessionRevokedData(user_id=session.user_id, session_id=session.id, reason=reason)
    return SessionRevoked.caused_by(
        request, id=f"revoked:{session.id}", source=AUTH_SOURCE, data=data
    )
