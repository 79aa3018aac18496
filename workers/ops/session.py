"""Sessions of the console: what Redis keeps, and the cookie that names one.

The cookie holds 256 random bits. Redis holds the rest under a hash of them, encrypted with a key
that is derived from them (AES-256-GCM): who reads Redis finds neither an id that is of use nor a
token. A session ends when it was not used for ``CONSOLE_IDLE_SECONDS``, and in any case
``CONSOLE_SESSION_SECONDS`` after the login.
"""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from redis.asyncio import Redis

from events.envelope import now
from infra.redis_errors import REDIS_ERRORS
from infra.settings import Settings
from infra.web.errors import unavailable
from schemas.types import FrozenModel

COOKIE = "adrelay_console"
LOGIN_COOKIE = "adrelay_login"  # of a browser at the login form
ID_BYTES = 32
MAX_COOKIE_LENGTH = 64  # characters; an id has 43
NONCE_BYTES = 12
KEY_PREFIX = "adrelay:console:session:"
KEPT_PREFIX = "kept:"
KEPT_FOR = timedelta(hours=1)
REDIS_GONE = "Redis does not answer. It holds the sessions, so nobody can be logged in right now."


class SessionContent(FrozenModel):
    """What a session knows: the account, its tokens, and whether it may change anything."""

    user_id: UUID
    auth_session_id: str  # of the auth worker, in the table of sessions
    email: str
    started_at: datetime
    access_token: str
    refresh_token: str
    read_only: bool = False
    kept_on: str = ""  # the page of the form whose input is kept


@dataclass(frozen=True, slots=True)
class ConsoleSession:
    """A session: ``id`` is what the browser's cookie has."""

    id: str = field(repr=False)
    content: SessionContent = field(repr=False)


class SessionStore:
    """Reads and writes sessions; raises an ``HttpError`` (503) while Redis is gone."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        """Take the lifetimes from the settings."""
        self._redis = redis
        self._idle = timedelta(seconds=settings.console_idle_seconds)
        self._lifetime = timedelta(seconds=settings.console_session_seconds)

    async def start(self, content: SessionContent) -> ConsoleSession:
        """Store a new session under a new id."""
        session = ConsoleSession(secrets.token_urlsafe(ID_BYTES), content)
        await self.put(session)
        return session

    async def put(self, session: ConsoleSession) -> None:
        """Write a session whose content has changed."""
        body = _encrypt(session.id, session.content.model_dump_json().encode())
        left = self._time_left(session.content)
        if left is None:
            return
        try:
            await self._redis.set(_derive_name(session.id), body, px=left)
        except REDIS_ERRORS:
            raise unavailable(REDIS_GONE) from None

    async def find(self, session_id: str, *, touch: bool = True) -> ConsoleSession | None:
        """Find a session by its id, None when it is over; ``touch`` counts as a use of it."""
        if len(session_id) > MAX_COOKIE_LENGTH:
            return None
        try:
            body = await self._redis.get(_derive_name(session_id))
            content = None if body is None else _read_content(session_id, body)
            left = None if content is None else self._time_left(content)
            if content is None or left is None:
                return None
            if touch:
                await self._redis.pexpire(_derive_name(session_id), left)
        except REDIS_ERRORS:
            raise unavailable(REDIS_GONE) from None
        return ConsoleSession(session_id, content)

    async def keep(self, session: ConsoleSession, page: str, text: str) -> None:
        """Keep the input of a form for a page, in place of what was kept before."""
        name = KEPT_PREFIX + _derive_name(session.id)
        try:
            await self._redis.set(name, _encrypt(session.id, text.encode()), px=KEPT_FOR)
        except REDIS_ERRORS:
            raise unavailable(REDIS_GONE) from None
        await self._mark_kept(session, page)

    async def forget_kept(self, session: ConsoleSession) -> None:
        """Forget the input that was kept."""
        try:
            await self._redis.delete(KEPT_PREFIX + _derive_name(session.id))
        except REDIS_ERRORS:
            raise unavailable(REDIS_GONE) from None
        await self._mark_kept(session, "")

    async def find_kept(self, session: ConsoleSession) -> str | None:
        """Find the input that is kept; None when there is none, or none any longer."""
        try:
            body = await self._redis.get(KEPT_PREFIX + _derive_name(session.id))
        except REDIS_ERRORS:
            raise unavailable(REDIS_GONE) from None
        text = None if body is None else _decrypt(session.id, body)
        return None if text is None else text.decode()

    async def end(self, session_id: str) -> None:
        """Forget a session and what it keeps."""
        name = _derive_name(session_id)
        try:
            await self._redis.delete(name, KEPT_PREFIX + name)
        except REDIS_ERRORS:
            raise unavailable(REDIS_GONE) from None

    async def _mark_kept(self, session: ConsoleSession, page: str) -> None:
        content = session.content.model_copy(update={"kept_on": page})
        await self.put(ConsoleSession(session.id, content))

    def _time_left(self, content: SessionContent) -> int | None:
        """Tell for how many milliseconds the session lives if it is not used; None: it is over."""
        left = min(self._idle, content.started_at + self._lifetime - now())
        return int(left / timedelta(milliseconds=1)) or None if left > timedelta() else None


def _read_content(session_id: str, body: bytes | str) -> SessionContent | None:
    text = _decrypt(session_id, body)
    try:
        return None if text is None else SessionContent.model_validate_json(text)
    except ValueError:
        return None


def _encrypt(session_id: str, text: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(_derive_key(session_id)).encrypt(nonce, text, None)


def _decrypt(session_id: str, body: bytes | str) -> bytes | None:
    if isinstance(body, str):
        return None
    try:
        return AESGCM(_derive_key(session_id)).decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], None)
    except (InvalidTag, ValueError):
        return None


def _derive_key(session_id: str) -> bytes:
    return sha256(b"adrelay console key\0" + session_id.encode()).digest()


def _derive_name(session_id: str) -> str:
    return KEY_PREFIX + sha256(b"adrelay console name\0" + session_id.encode()).hexdigest()
