"""Consents that have been asked for and not yet given: one ``state`` each, good for one use.

The state travels through the platform and back. It is bound to the login session that began
it and, by a second secret in a cookie, to the browser (RFC 6749, section 10.12; RFC 9700,
section 4.7): a link that somebody else has prepared connects nothing. Redis holds hashes of
both, and the PKCE verifier, for ten minutes.
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

STATE_LIFETIME_SECONDS = 600  # seconds
SECRET_BYTES = 32
MAX_STATE_LENGTH = 64  # ours have 43


class InvalidState(Exception):
    """A state that we never made, that was used before or is too old, or another browser's."""


class PendingAuthorization(FrozenModel):
    """Who wants to connect what, and the PKCE verifier that the code will be bound to."""

    platform: Platform
    user_id: UUID
    session_id: str
    verifier: str = Field(repr=False)
    browser: str = Field(repr=False)  # SHA-256 of the cookie


@dataclass(frozen=True, slots=True)
class AuthorizationStart:
    """What goes out: the state with the browser, the cookie into it."""

    state: str = field(repr=False)
    cookie: str = field(repr=False)
    verifier: str = field(repr=False)


async def start_authorization(
    redis: Redis, platform: Platform, user_id: UUID, session_id: str
) -> AuthorizationStart:
    """Make a state for an owner who wants to connect an account. Redis' errors propagate."""
    begun = AuthorizationStart(*(token_urlsafe(SECRET_BYTES) for _ in range(3)))
    pending = PendingAuthorization(
        platform=platform,
        user_id=user_id,
        session_id=session_id,
        verifier=begun.verifier,
        browser=_hash(begun.cookie),
    )
    await redis.set(_key(begun.state), pending.model_dump_json(), ex=STATE_LIFETIME_SECONDS)
    return begun


async def consume_state(
    redis: Redis, platform: str, state: str, cookie: str
) -> PendingAuthorization:
    """Use a state up; raises ``InvalidState``. Redis' errors propagate.

    Whoever shows the state of another browser or platform uses it up too.
    """
    if not 0 < len(state) <= MAX_STATE_LENGTH:
        raise InvalidState
    held: Any = None
    try:
        held = await redis.getdel(_key(state))
    except RedisError as error:
        if not is_wrong_value(error):
            raise
        await redis.delete(_key(state))
    if held is None:
        raise InvalidState
    try:
        pending = PendingAuthorization.model_validate_json(held)
    except ValidationError:  # written by another release
        raise InvalidState from None
    same_browser = hmac.compare_digest(pending.browser, _hash(cookie))
    if pending.platform != platform or not same_browser:
        raise InvalidState
    return pending


def _key(state: str) -> str:
    return f"consent:{_hash(state)}"


def _hash(secret: str) -> str:
    return sha256(secret.encode(errors="surrogatepass")).hexdigest()
