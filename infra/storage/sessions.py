"""Queries for login sessions. Postgres is authoritative for whether a session has ended.

A session is live while it has not ended and was used within the lifetime of a refresh token;
``since`` is that limit (UTC, ``expiry_cutoff``). A session that ended in a committed transaction
stays ended, whatever Redis holds.
"""

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.security.refresh_token_rotation import IssuedToken, Session
from infra.settings import Settings
from infra.storage.tables import sessions, users
from schemas.sessions import SessionEndReason
from schemas.users import ClientInfo, User

# The share lock on the user waits for a concurrent change of the password, after which the old hash
# does not match.
INSERT = text("""
    insert into sessions (id, user_id, started_at, last_used_at, address, device)
    select :id, users.id, :at, :at, :address, :device
    from users where users.id = :user_id and users.password_hash = :password_hash
    for share
    returning id
""")
MAX_LISTED = 200  # sessions of a user


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A row of ``sessions``."""

    id: str
    started_at: datetime
    last_used_at: datetime
    rotation_count: int
    address: str | None
    device: str | None


@dataclass(frozen=True, slots=True)
class SessionState:
    """The state of a session in Postgres, and its user."""

    user: User
    rotation_count: int
    last_used_at: datetime
    ended: bool

    def allows(self, issued: IssuedToken, settings: Settings, now: datetime) -> bool:
        """Return whether a refresh that Redis has accepted may take effect.

        It may not when the session has ended, nor when Redis has counted fewer rotations than
        Postgres: then Redis was restored from old data, in which spent tokens are valid. Within the
        grace period the last rotation may occur twice, for two requests with the same token.
        """
        if self.ended or self.last_used_at <= expiry_cutoff(settings, now):
            return False
        grace = timedelta(seconds=settings.refresh_grace_seconds)
        if issued.repeated or now - self.last_used_at <= grace:
            return issued.rotation_count >= self.rotation_count
        return issued.rotation_count > self.rotation_count


def expiry_cutoff(settings: Settings, now: datetime) -> datetime:
    """Return the time (UTC) since which a live session must have been used."""
    return now - timedelta(seconds=settings.refresh_token_seconds)


async def insert_session(
    tx: AsyncConnection, session: Session, password_hash: str, client: ClientInfo, at: datetime
) -> bool:
    """Insert a session; False when the user no longer has this password hash."""
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
    """Find the state of a session; None when it or its user does not exist."""
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
    """Record a refresh at ``at`` (UTC); False when the session has ended."""
    changed = (
        update(sessions)
        .where(sessions.c.id == issued.session.id, sessions.c.ended_at.is_(None))
        .values(
            rotation_count=func.greatest(sessions.c.rotation_count, issued.rotation_count),
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
    """End a live session, of this user if one is given; empty when there is none."""
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
    """End every live session of a user but ``but``; returns the ended ones."""
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
    """Return whether a session of this user is live; locks it against its end until the commit."""
    query = (
        select(sessions.c.id)
        .where(sessions.c.id == session_id, sessions.c.user_id == user_id, _live(since))
        .with_for_update(read=True)
    )
    return (await tx.execute(query)).one_or_none() is not None


async def list_sessions(tx: AsyncConnection, user_id: UUID, since: datetime) -> list[SessionRow]:
    """List the live sessions of a user, the last used first, at most ``MAX_LISTED``."""
    query = (
        select(*(sessions.c[field.name] for field in fields(SessionRow)))
        .where(sessions.c.user_id == user_id, _live(since))
        .order_by(sessions.c.last_used_at.desc(), sessions.c.id)
        .limit(MAX_LISTED)
    )
    return [SessionRow(*row) for row in await tx.execute(query)]


def _live(since: datetime) -> ColumnElement[bool]:
    return and_(sessions.c.ended_at.is_(None), sessions.c.last_used_at > since)
