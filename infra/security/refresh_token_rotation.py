"""Issues and rotates refresh tokens: one family for each session, in Redis, as hashes only.

    session:{<id>}                user, turns (rotations), current: hash of the valid token
    session:{<id>}:spent:<hash>   exists during the grace period of a spent token

A refresh token is opaque to clients and valid for one use (RFC 9700, section 4.14.2). It is
``session id | secret | tag``: the tag proves, before Redis is asked, that it was issued here, so
an attacker who knows a session id cannot end the session with a made-up token. The secret of
its successor is derived from it with a server key; so two tabs, or a client that missed a reply,
that present a spent token again within the grace period get *the same* successor, although
only hashes are stored. After the grace period a spent token counts as stolen: the family ends.

Redis decides which token is valid. Postgres (``infra.storage.sessions``) is authoritative for
whether the session is live and for its number of rotations. So a Redis that is restored from old
data revives neither an ended session nor a spent token. A family that ended by reuse stays
for a minute with the token that ended it, so that a redelivered request gets the same reply.
"""

import hmac
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_bytes
from typing import Any
from uuid import UUID

from redis.asyncio import Redis

from infra.base64url import decode_base64url, decode_key, encode_base64url
from infra.redis_errors import REDIS_ERRORS, is_wrong_value
from infra.settings import Settings

ID_BYTES = 16
SECRET_BYTES = 32
TAG_BYTES = 16
REUSE_RECORD_MS = 60_000

# KEYS: family, key of the spent token; ARGV: hash, successor's hash, lifetime and grace in ms.
ROTATE_SCRIPT = f"""
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then return {{'unknown'}} end
local user, current, ended, turns =
    unpack(redis.call('HMGET', KEYS[1], 'user', 'current', 'ended', 'turns'))
if not user or not string.match(turns or '', '^%d+$') then return {{'unknown'}} end
if ended then
    if ended == ARGV[1] then return {{'reused', user}} end
    return {{'unknown'}}
end
if current == ARGV[1] then
    redis.call('HSET', KEYS[1], 'current', ARGV[2])
    turns = redis.call('HINCRBY', KEYS[1], 'turns', 1)
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    redis.call('SET', KEYS[2], '', 'PX', ARGV[4])
    return {{'rotated', user, tostring(turns)}}
end
if redis.call('EXISTS', KEYS[2]) == 1 then return {{'repeated', user, turns}} end
redis.call('HSET', KEYS[1], 'ended', ARGV[1])
redis.call('PEXPIRE', KEYS[1], {REUSE_RECORD_MS})
return {{'reused', user}}
"""

log = logging.getLogger(__name__)


class InvalidRefreshToken(Exception):
    """The refresh token was not issued here."""


class SessionEnded(Exception):
    """Redis does not have the session of a refresh token: it ended, expired or was lost."""

    def __init__(self, session_id: str) -> None:
        """Keep the id of the session."""
        super().__init__("the session is over")
        self.session_id = session_id


class RefreshTokenReused(Exception):
    """A spent refresh token was presented after the grace period; its session was ended."""

    def __init__(self, session: "Session") -> None:
        """Keep the session and its account."""
        super().__init__("a spent refresh token was used again")
        self.session = session


@dataclass(frozen=True, slots=True)
class Session:
    """One login: its id (32 hexadecimal digits) and its account."""

    id: str
    user_id: UUID


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A session and the refresh token that is issued for it.

    ``rotation_count`` counts the refreshes of the session so far; ``repeated`` means that this
    is the result of the last refresh again.
    """

    session: Session
    refresh_token: str = field(repr=False)
    rotation_count: int = 0
    repeated: bool = False


def parse_refresh_key(settings: Settings) -> bytes:
    """Read the server key; raises ``ValueError`` when ``REFRESH_KEY`` is missing or malformed."""
    secret = settings.refresh_key
    return decode_key(secret.get_secret_value() if secret else "", "REFRESH_KEY")


class RefreshTokenStore:
    """Issues, rotates and revokes refresh tokens. Redis' own errors propagate."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        """Parse the server key, as ``parse_refresh_key`` does; nothing is connected yet."""
        self._key = parse_refresh_key(settings)
        self._redis = redis
        self._life = settings.refresh_token_seconds * 1000
        self._grace = int(settings.refresh_grace_seconds * 1000)

    async def issue(self, user_id: UUID) -> IssuedToken:
        """Issue the first refresh token of a new session of an account."""
        session = token_bytes(ID_BYTES)
        token = self._token(session + token_bytes(SECRET_BYTES))
        fields = ("user", str(user_id), "current", _hash(token), "turns", "0")
        family = _family_key(session.hex())
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(family, items=list(fields))
            pipe.pexpire(family, self._life)
            await pipe.execute()
        return IssuedToken(Session(session.hex(), user_id), token)

    async def rotate(self, token: str) -> IssuedToken:
        """Replace a refresh token by its successor, and extend the session.

        Raises ``InvalidRefreshToken``, ``SessionEnded`` and, after ending the session,
        ``RefreshTokenReused``.
        """
        body = self._body(token)
        session_id, successor = body[:ID_BYTES].hex(), self._successor(body)
        keys = [_family_key(session_id), f"{_family_key(session_id)}:spent:{_hash(token)}"]
        args = [_hash(token), _hash(successor), self._life, self._grace]
        result, *rest = await self._run(ROTATE_SCRIPT, keys, args)
        if result == b"unknown":
            raise SessionEnded(session_id)
        try:
            found = Session(session_id, UUID(rest[0].decode()))
        except ValueError:  # another program wrote there
            raise SessionEnded(session_id) from None
        if result == b"reused":
            raise RefreshTokenReused(found)
        return IssuedToken(found, successor, int(rest[1]), repeated=result == b"repeated")

    def parse_session_id(self, token: str) -> str:
        """Return the session of a refresh token, whether or not it is spent or the session ended.

        Raises ``InvalidRefreshToken``.
        """
        return self._body(token)[:ID_BYTES].hex()

    async def revoke(self, session_ids: Sequence[str]) -> None:
        """Delete sessions that have ended in Postgres.

        Raises nothing: Postgres is authoritative, so a session that stays in Redis is not live.
        """
        if not session_ids:
            return
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for session_id in session_ids:
                    pipe.delete(_family_key(session_id))
                await pipe.execute()
        except REDIS_ERRORS as error:
            log.warning("ended sessions stay in Redis", extra={"reason": type(error).__name__})

    async def _run(self, script: str, keys: list[str], args: list[Any]) -> Any:  # noqa: ANN401 - Redis' reply
        return await self._redis.register_script(script)(keys=keys, args=args)

    def _body(self, token: str) -> bytes:
        try:
            raw = decode_base64url(token)
        except ValueError:
            raise InvalidRefreshToken("not a refresh token") from None
        body, tag = raw[:-TAG_BYTES], raw[-TAG_BYTES:]
        genuine = hmac.compare_digest(tag, self._derive(b"tag", body)[:TAG_BYTES])
        if len(body) != ID_BYTES + SECRET_BYTES or not genuine:
            raise InvalidRefreshToken("not a refresh token that was issued here")
        return body

    def _successor(self, body: bytes) -> str:
        return self._token(body[:ID_BYTES] + self._derive(b"successor", body))

    def _token(self, body: bytes) -> str:
        return encode_base64url(body + self._derive(b"tag", body)[:TAG_BYTES])

    def _derive(self, purpose: bytes, body: bytes) -> bytes:
        return hmac.digest(self._key, purpose + b"\0" + body, sha256)


async def read_rotation_counts(redis: Redis, session_ids: Sequence[str]) -> Mapping[str, int]:
    """Read how often each session was refreshed, of those that are in Redis.

    Needs no secret key, so the ingress can call it. Redis' own errors propagate; a session whose
    Redis key holds another type counts as absent.
    """
    if not session_ids:
        return {}
    async with redis.pipeline(transaction=False) as pipe:
        for session_id in session_ids:
            pipe.hmget(_family_key(session_id), "turns", "ended")
        found = await pipe.execute(raise_on_error=False)
    known: dict[str, int] = {}
    for session_id, answer in zip(session_ids, found, strict=True):
        if isinstance(answer, Exception):
            if not is_wrong_value(answer):
                raise answer
            continue
        turns, ended = answer
        if turns is not None and turns.isdigit() and ended is None:
            known[session_id] = int(turns)
    return known


def _family_key(session_id: str) -> str:
    """Build the Redis key of a session; the braces keep its keys on one node of a cluster."""
    return f"session:{{{session_id}}}"


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()
