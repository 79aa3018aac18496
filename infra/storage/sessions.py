"""Sessions in Postgres: who is logged in from where, and which sessions are over.

A session is live while it has not ended and was used within the life of a refresh token;
``since`` is always that limit (UTC). What ended in a committed transaction stays ended,
whatever Redis says.
"""

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.security.refresh_tokens import IssuedToken, Session
from infra.settings import Settings
from infra.storage.tables import sessions, users
from schemas.sessions import SessionEndReason
from schemas.users import ClientInfo, User

# Share-locks the account: a change of its password that is under way comes first, and then
# the old hash fits no more.
INSERT = text("""
    insert into sessions (id, user_id, started_at, last_used_at, address, device)
    select :id, users.id, :at, :at, :address, :device
    from users where users.id = :user_id and users.password_hash = :password_hash
    for share
    returning id
""")
MAX_LISTED = 200  # sessions of an account


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A live session as it is stored."""

    id: str
    started_at: datetime
    last_used_at: datetime
    rotation_count: int
    address: str | None
    device: str | None


@dataclass(frozen=True, slots=True)
class SessionState:
    """How a session stands in Postgres, and whose it is."""

    user: User
    rotation_count: int
    last_used_at: datetime
    ended: bool

    def allows(self, issued: IssuedToken, settings: Settings, now: datetime) -> bool:
        """Tell whether a refresh that Redis has granted may take effect.

        Not when the session is over, and not when Redis has counted fewer turns than we
        have: it came back with old data, in which spent tokens look good. The last turn
        may be seen twice within the grace, when two requests show the same token at once.
        """
        if self.ended or self.last_used_at <= expiry_cutoff(settings, now):
            return False
        grace = timedelta(seconds=settings.refresh_grace_seconds)
        if issued.repeated or now - self.last_used_at <= grace:
            return issued.turns >= self.rotation_count
        return issued.turns > self.rotation_count


def expiry_cutoff(settings: Settings, now: datetime) -> datetime:
    """Tell since when a session must have been used to be live."""
    return now - timedelta(seconds=settings.refresh_token_seconds)


async def insert_session(
    tx: AsyncConnection, session: Session, password_hash: str, client: ClientInfo, at: datetime
) -> bool:
    """Add a session that this hash has let in; False when the account has another by now."""
    values = {
        "id": session.id,
        "user_id": session.user_id,
        "at": at,
        "address": client.address,
        "device": client.device,
        "password_hash": password_hash,
    }
    return (await tx.execute(INSERT, values)).one_or_none() is not None


async def find_session_state(tx: AsyncConnection, session_id: str) -> SessionState | None:
    """Find how a session stands; None when it or its account is gone."""
    query = (
        select(
            users.c.id,
            users.c.email,
            users.c.role,
            sessions.c.rotation_count,
            sessions.c.last_used_at,
            sessions.c.ended_at.is_not(None).label("ended"),
        )
        .join_from(sessions, users)
        .where(sessions.c.id == session_id)
    )
    row = (await tx.execute(query)).one_or_none()
    if row is None:
        return None
    user = User(id=row.id, email=row.email, role=row.role)
    return SessionState(user, row.rotation_count, row.last_used_at, row.ended)


async def record_refresh(
    tx: AsyncConnection, issued: IssuedToken, client: ClientInfo, at: datetime
) -> bool:
    """Write down a refresh; False when the session has ended meanwhile."""
    changed = (
        update(sessions)
        .where(sessions.c.id == issued.session.id, sessions.c.ended_at.is_(None))
        .values(
            rotation_count=func.greatest(sessions.c.rotation_count, issued.turns),
            last_used_at=func.greatest(sessions.c.last_used_at, at),
            address=client.address,
            device=client.device,
        )
        .returning(sessions.c.id)
    )
    return (await tx.execute(changed)).one_or_none() is not None


async def end_session(
    tx: AsyncConnection,
    session_id: str,
    reason: SessionEndReason,
    *,
    since: datetime,
    at: datetime,
    user_id: UUID | None = None,
) -> list[Session]:
    """End a live session, of this account if one is named; empty when there is none."""
    which = sessions.c.id == session_id
    if user_id is not None:
        which = and_(which, sessions.c.user_id == user_id)
    return await _end(tx, which, reason, since, at)


async def end_sessions_of(
    tx: AsyncConnection,
    user_id: UUID,
    reason: SessionEndReason,
    *,
    since: datetime,
    at: datetime,
    but: str | None = None,
) -> list[Session]:
    """End every live session of an account but one; tells which."""
    which = and_(sessions.c.user_id == user_id, sessions.c.id.is_distinct_from(but))
    return await _end(tx, which, reason, since, at)


async def _end(
    tx: AsyncConnection,
    which: ColumnElement[bool],
    reason: SessionEndReason,
    since: datetime,
    at: datetime,
) -> list[Session]:
    ended = (
        update(sessions)
        .where(which, _live(since))
        .values(ended_at=at, ended_by=reason)
        .returning(sessions.c.id, sessions.c.user_id)
    )
    return [Session(row.id, row.user_id) for row in await tx.execute(ended)]


async def is_live(
    tx: AsyncConnection, session_id: str | None, user_id: UUID | None, since: datetime
) -> bool:
    """Tell whether a session of this account is live, and keep it so until the commit."""
    query = (
        select(sessions.c.id)
        .where(sessions.c.id == session_id, sessions.c.user_id == user_id, _live(since))
        .with_for_update(read=True)
    )
    return (await tx.execute(query)).one_or_none() is not None


async def list_sessions(tx: AsyncConnection, user_id: UUID, since: datetime) -> list[SessionRow]:
    """List the live sessions of an account, the last used first, at most ``MAX_LISTED``."""
    query = (
        select(*(sessions.c[field.name] for field in fields(SessionRow)))
        .where(sessions.c.user_id == user_id, _live(since))
        .order_by(sessions.c.last_used_at.desc(), sessions.c.id)
        .limit(MAX_LISTED)
    )
    return [SessionRow(*row) for row in await tx.execute(query)]


async def delete_old_sessions(tx: AsyncConnection, before: datetime, most: int = 10_000) -> int:
    """Delete at most ``most`` sessions that were last used before a moment; tells how many."""
    old = select(sessions.c.id).where(sessions.c.last_used_at < before).limit(most)
    return (await tx.execute(delete(sessions).where(sessions.c.id.in_(old)))).rowcount


def _live(since: datetime) -> ColumnElement[bool]:
    return and_(sessions.c.ended_at.is_(None), sessions.c.last_used_at > since)
