"""Sessions: one family of refresh tokens for each login, in Redis, as hashes only.

    session:{<id>}                user, current: hash of the token that is good now
    session:{<id>}:spent:<hash>   exists while a spent token is within the grace

A refresh token is opaque to clients and good for one use (RFC 9700, section 4.14.2). It is
``session id | secret | tag``: the tag proves, before Redis is asked, that we issued it, so a
stranger who knows a session id cannot end the session with a made-up token. The secret of
its successor is derived from it under a server key; so two tabs or a lost answer that show
a spent token again within the grace get *the same* successor, although nothing but hashes
is stored. After the grace a spent token is theft: the family ends.

An ended family stays for a minute with what ended it, so that a repeated message has
the same answer. The auth worker asks here alone, so a table of revocations in Postgres, against a
Redis that comes back with old data, has its place in ``rotate``.
"""

import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_bytes
from typing import Any
from uuid import UUID

from redis.asyncio import Redis

from infra.keys import bytes_of, key_of, text_of
from infra.settings import Settings

ID_BYTES = 16
SECRET_BYTES = 32
TAG_BYTES = 16
ENDED_MS = 60_000

# KEYS: family, mark of the spent token; ARGV: hash, successor's hash, life and grace in ms.
ROTATE = f"""
local user, current, ended = unpack(redis.call('HMGET', KEYS[1], 'user', 'current', 'ended'))
if not user then return {{'unknown'}} end
if ended then
    if ended == 'reuse ' .. ARGV[1] then return {{'reused', user}} end
    return {{'unknown'}}
end
if current == ARGV[1] then
    redis.call('HSET', KEYS[1], 'current', ARGV[2])
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    redis.call('SET', KEYS[2], '', 'PX', ARGV[4])
    return {{'rotated', user}}
end
if redis.call('EXISTS', KEYS[2]) == 1 then return {{'rotated', user}} end
redis.call('HSET', KEYS[1], 'ended', 'reuse ' .. ARGV[1])
redis.call('PEXPIRE', KEYS[1], {ENDED_MS})
return {{'reused', user}}
"""
# KEYS: family; ARGV: what ends it.
END = f"""
local user, ended = unpack(redis.call('HMGET', KEYS[1], 'user', 'ended'))
if not user or (ended and ended ~= ARGV[1]) then return false end
redis.call('HSET', KEYS[1], 'ended', ARGV[1])
redis.call('PEXPIRE', KEYS[1], {ENDED_MS})
return user
"""


class InvalidRefreshToken(Exception):
    """A refresh token that we never issued, or whose session is over."""


class RefreshTokenReused(Exception):
    """A spent refresh token was shown after the grace, so its session has been ended."""

    def __init__(self, session: "Session") -> None:
        """Keep whose session it was."""
        super().__init__("a spent refresh token was used again")
        self.session = session


@dataclass(frozen=True, slots=True)
class Session:
    """One login: its id (32 hexadecimal digits) and its account."""

    id: str
    user_id: UUID


@dataclass(frozen=True, slots=True)
class Issued:
    """A session and the refresh token to hand out for it."""

    session: Session
    refresh_token: str = field(repr=False)


class Sessions:
    """Starts, prolongs and ends sessions. Redis' own errors propagate."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        """Take the server key; raises ``ValueError`` when ``REFRESH_KEY`` is none."""
        secret = settings.refresh_key
        self._key = key_of(secret.get_secret_value() if secret else "", "REFRESH_KEY")
        self._redis = redis
        self._life = settings.refresh_token_seconds * 1000
        self._grace = int(settings.refresh_grace_seconds * 1000)

    async def start(self, user_id: UUID) -> Issued:
        """Begin a session of an account."""
        session = token_bytes(ID_BYTES)
        token = self._token(session + token_bytes(SECRET_BYTES))
        fields = ("user", str(user_id), "current", _hash(token))
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(_family(session), items=list(fields))
            pipe.pexpire(_family(session), self._life)
            await pipe.execute()
        return Issued(Session(session.hex(), user_id), token)

    async def rotate(self, token: str) -> Issued:
        """Take a refresh token for its successor; the session lives on from now.

        Raises ``InvalidRefreshToken`` and, after ending the session, ``RefreshTokenReused``.
        """
        body = self._body(token)
        session, successor = body[:ID_BYTES], self._successor(body)
        keys = [_family(session), f"{_family(session)}:spent:{_hash(token)}"]
        args = [_hash(token), _hash(successor), self._life, self._grace]
        verdict, *user = await self._run(ROTATE, keys, args)
        if verdict == b"unknown":
            raise InvalidRefreshToken("the session is over")
        found = Session(session.hex(), UUID(user[0].decode()))
        if verdict == b"reused":
            raise RefreshTokenReused(found)
        return Issued(found, successor)

    async def end(self, token: str) -> Session | None:
        """End the session that a refresh token of ours belongs to; None when it is over.

        A spent token will do: who holds it had the session. Ending it twice with the same
        token within a minute tells the session both times. Raises ``InvalidRefreshToken``.
        """
        session = self._body(token)[:ID_BYTES]
        user = await self._run(END, [_family(session)], [f"logout {_hash(token)}"])
        return Session(session.hex(), UUID(user.decode())) if user else None

    async def _run(self, script: str, keys: list[str], args: list[Any]) -> Any:  # noqa: ANN401 - Redis' reply
        return await self._redis.register_script(script)(keys=keys, args=args)

    def _body(self, token: str) -> bytes:
        try:
            raw = bytes_of(token)
        except ValueError:
            raise InvalidRefreshToken("not a refresh token") from None
        body, tag = raw[:-TAG_BYTES], raw[-TAG_BYTES:]
        genuine = hmac.compare_digest(tag, self._derive(b"tag", body)[:TAG_BYTES])
        if len(body) != ID_BYTES + SECRET_BYTES or not genuine:
            raise InvalidRefreshToken("not a refresh token of ours")
        return body

    def _successor(self, body: bytes) -> str:
        return self._token(body[:ID_BYTES] + self._derive(b"successor", body))

    def _token(self, body: bytes) -> str:
        return text_of(body + self._derive(b"tag", body)[:TAG_BYTES])

    def _derive(self, purpose: bytes, body: bytes) -> bytes:
        return hmac.digest(self._key, purpose + b"\0" + body, sha256)


def _family(session: bytes) -> str:
    """Name the hash of a session; the braces keep its keys on one node of a cluster."""
    return f"session:{{{session.hex()}}}"


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()
