"""Stores pending OAuth authorizations: one ``state`` each, valid for one use.

The state is sent to the platform and comes back in the callback. It is bound to the login session
that started it and, by a second secret in a cookie, to the browser (RFC 6749, section 10.12; RFC
9700, section 4.7): a link that was prepared by an attacker connects nothing. Redis holds
hashes of both, and the PKCE verifier, for ten minutes.
"""

import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any
from uuid import UUID

from pydantic import Field, ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from infra.redis_errors import is_wrong_value
from schemas.types import FrozenModel, Platform

STATE_LIFETIME_SECONDS = 600
SECRET_BYTES = 32
MAX_STATE_LENGTH = 64  # characters; a state that is made here has 43


class InvalidState(Exception):
    """The state is unknown, used, expired, or of another browser or platform."""


class PendingAuthorization(FrozenModel):
    """Who connects which platform, and the PKCE verifier that the code is bound to."""

    platform: Platform
    user_id: UUID
    session_id: str
    verifier: str = Field(repr=False)
    browser: str = Field(repr=False)  # SHA-256 of the cookie


@dataclass(frozen=True, slots=True)
class AuthorizationStart:
    """The secrets of a new authorization: state and verifier for the URL, and the cookie."""

    state: str = field(repr=False)
    cookie: str = field(repr=False)
    verifier: str = field(repr=False)


async def start_authorization(
    redis: Redis, platform: Platform, user_id: UUID, session_id: str
) -> AuthorizationStart:
    """Create a state for the owner of an account. Redis' errors propagate."""
    started = AuthorizationStart(*(token_urlsafe(SECRET_BYTES) for _ in range(3)))
    pending = PendingAuthorization(
        platform=platform,
        user_id=user_id,
        session_id=session_id,
        verifier=started.verifier,
        browser=_hash(started.cookie),
    )
    await redis.set(_key(started.state), pending.model_dump_json(), ex=STATE_LIFETIME_SECONDS)
    return started


async def consume_state(
    redis: Redis, platform: str, state: str, cookie: str
) -> PendingAuthorization:
    """Consume a state; raises ``InvalidState``. Redis' errors propagate.

    A state that is presented by another browser or for another platform is consumed too.
    """
    if not 0 < len(state) <= MAX_STATE_LENGTH:
        raise InvalidState
    stored: Any = None
    try:
        stored = await redis.getdel(_key(state))
    except RedisError as error:
        if not is_wrong_value(error):
            raise
        await redis.delete(_key(state))
    if stored is None:
        raise InvalidState
    try:
        pending = PendingAuthorization.model_validate_json(stored)
    except ValidationError:  # written by another version
        raise InvalidState from None
    same_browser = hmac.compare_digest(pending.browser, _hash(cookie))
    if pending.platform != platform or not same_browser:
        raise InvalidState
    return pending


def _key(state: str) -> str:
    return f"consent:{_hash(state)}"


def _hash(secret: str) -> str:
    return sha256(secret.encode(errors="surrogatepass")).hexdigest()
