"""``Idempotency-Key``: a repeated write has the effect of one.

The operation id, which is also the event's id, is derived from principal, method, path and key:
a repeated write gets the same ids in its response, and the inbox drops its event. A fingerprint of
the first request with a key is stored in Redis for a day; another request with the same key is
rejected with 422. When Redis has no fingerprint, the inbox in Postgres is used: what a worker has
handled was accepted. When neither has one, the worker compares the events and dead-letters the
second.
"""

import logging
import re
from hashlib import blake2b
from typing import Any
from uuid import UUID

from aiohttp import web

from events.envelope import Event
from infra.errors import Outage
from infra.messaging.decoder import event_key
from infra.messaging.digest import content_digest
from infra.messaging.inbox import find_digest
from infra.redis_errors import REDIS_ERRORS
from infra.security.operation_id import create_operation_id, idempotency_seed
from infra.web.errors import FieldError, HttpError, invalid
from workers.ingress.context import RequestContext

FINGERPRINT_LIFETIME = 86_400  # seconds
# A quoted string (draft-ietf-httpapi-idempotency-key-header) or the same without quotes.
KEY_PATTERN = re.compile(r'"[\x20\x21\x23-\x5b\x5d-\x7e]{1,255}"|[\x21\x23-\x5b\x5d-\x7e]{1,255}')

log = logging.getLogger(__name__)


def derive_operation_id(context: RequestContext) -> str:
    """Derive the operation id of a write from its ``Idempotency-Key``, or create one without it.

    Raises an ``HttpError`` (400) for a malformed key.
    """
    key = _parse_key(context.request)
    seed = idempotency_seed(context.request.method, context.request.path, key) if key else None
    return create_operation_id(context.state.operation_key, context.principal.user_id, seed)


def derive_registration_id(context: RequestContext) -> UUID | None:
    """Derive an id from a registration's ``Idempotency-Key`` with a keyed hash; None without one.

    Raises an ``HttpError`` (400) for a malformed key.
    """
    key = _parse_key(context.request)
    if key is None:
        return None
    seed = idempotency_seed(context.request.method, context.request.path, key)
    secret = context.state.operation_key[:64]
    return UUID(bytes=blake2b(seed, key=secret, digest_size=16, person=b"registration").digest())


async def is_repeat(context: RequestContext, event: Event, consumer: str) -> bool:
    """Return whether this write, which ``consumer`` handles, was accepted before.

    Raises an ``HttpError`` (422) when its key was used for another request.
    """
    if "Idempotency-Key" not in context.request.headers:
        return False
    first: Any = None
    try:
        first = await context.state.resources.redis.get(_redis_key(event))
    except REDIS_ERRORS:
        log.warning(
            "no Redis: the inbox checks a key",
            extra={"event_id": event.id},
        )
    if first is None:
        first = await _find_fingerprint(context, event, consumer)
    if first is not None and first != _fingerprint(event):
        raise HttpError(
            422, "IDEMPOTENCY_KEY_REUSED", "This Idempotency-Key was used for another request."
        )
    return first is not None


async def store_fingerprint(context: RequestContext, event: Event) -> None:
    """Store the fingerprint of an accepted write that has a key; never raises."""
    if "Idempotency-Key" not in context.request.headers:
        return
    try:
        await context.state.resources.redis.set(
            _redis_key(event), _fingerprint(event), nx=True, ex=FINGERPRINT_LIFETIME
        )
    except REDIS_ERRORS:
        log.warning(
            "no Redis: the inbox checks a key",
            extra={"event_id": event.id},
        )


async def _find_fingerprint(context: RequestContext, event: Event, consumer: str) -> bytes | None:
    """Return the digest of the event that ``consumer`` has handled under this id, if any."""
    try:
        found = await context.state.database.read(find_digest, consumer, event_key(event))
    except Outage:
        return None
    return None if found is None else found.bytes


def _parse_key(request: web.Request) -> str | None:
    values = request.headers.getall("Idempotency-Key", ())
    if not values:
        return None
    if len(values) > 1 or not KEY_PATTERN.fullmatch(values[0]):
        message = "must be one key of 1 to 255 printable characters"
        raise invalid([FieldError("Idempotency-Key", message)])
    return values[0].strip('"')


def _redis_key(event: Event) -> str:
    return f"idempotency:{event.id}"


def _fingerprint(event: Event) -> bytes:
    return content_digest(event).bytes
