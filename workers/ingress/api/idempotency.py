"""``Idempotency-Key``: a write that is sent again is the same write.

The operation id, which is also the event's id, follows from the caller, method, path and
key, so a repeated write is answered with the same ids and the inbox drops its event. What
the key was first used for is remembered in Redis for a day, to refuse another use with 422.
When Redis does not know, the inbox in Postgres is asked: what a worker has handled was accepted.
When neither knows, the worker compares and files the other use as a dead letter.
"""

import logging
import re
from hashlib import blake2b
from typing import Any
from uuid import UUID

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from events.envelope import Event
from infra.errors import Outage
from infra.messaging.decoder import event_key
from infra.messaging.digest import content_digest
from infra.messaging.inbox import find_digest
from infra.redis_errors import REDIS_ERRORS
from infra.security.operation_id import create_operation_id, idempotency_seed
from workers.ingress.context import RequestContext
from workers.ingress.http.errors import FieldError, HttpError, invalid

FINGERPRINT_LIFETIME = 86_400  # seconds
# A quoted string (draft-ietf-httpapi-idempotency-key-header) or the same without quotes.
KEY_PATTERN = re.compile(r'"[\x20\x21\x23-\x5b\x5d-\x7e]{1,255}"|[\x21\x23-\x5b\x5d-\x7e]{1,255}')

log = logging.getLogger(__name__)


def derive_operation_id(context: RequestContext) -> str:
    """Make the operation id of a write, from its ``Idempotency-Key`` if it has one.

    Raises an ``HttpError`` (400) for a malformed key.
    """
    key = _parse_key(context.request)
    seed = idempotency_seed(context.request.method, context.request.path, key) if key else None
    return create_operation_id(context.state.operation_key, context.principal.user_id, seed)


def derive_registration_id(context: RequestContext) -> UUID | None:
    """Hash the ``Idempotency-Key`` of a registration, under our key; None without one.

    Raises an ``HttpError`` (400) for a malformed key.
    """
    key = _parse_key(context.request)
    if key is None:
        return None
    seed = idempotency_seed(context.request.method, context.request.path, key)
    secret = context.state.operation_key[:64]
    return UUID(bytes=blake2b(seed, key=secret, digest_size=16, person=b"registration").digest())


async def is_repeat(context: RequestContext, event: Event, consumer: str) -> bool:
    """Tell whether this write, which ``consumer`` handles, was accepted before.

    Raises an ``HttpError`` (422) when its key was used for something else.
    """
    if "Idempotency-Key" not in context.request.headers:
        return False
    first: Any = None
    try:
        first = await context.state.resources.redis.get(_redis_key(event))
    except REDIS_ERRORS:
        log.warning("an Idempotency-Key is left to the inbox", extra={"event_id": event.id})
    if first is None:
        first = await _find_fingerprint(context, event, consumer)
    if first is not None and first != _fingerprint(event):
        raise HttpError(
            422, "IDEMPOTENCY_KEY_REUSED", "This Idempotency-Key was used for another request."
        )
    return first is not None


async def store_fingerprint(context: RequestContext, event: Event) -> None:
    """Keep what a key was used for, once that is accepted; never raises."""
    if "Idempotency-Key" not in context.request.headers:
        return
    try:
        await context.state.resources.redis.set(
            _redis_key(event), _fingerprint(event), nx=True, ex=FINGERPRINT_LIFETIME
        )
    except REDIS_ERRORS:
        log.warning("an Idempotency-Key is left to the inbox", extra={"event_id": event.id})


async def _find_fingerprint(context: RequestContext, event: Event, consumer: str) -> bytes | None:
    """Give the digest of what ``consumer`` has handled under the event's id, if it has."""

    async def find(tx: AsyncConnection) -> UUID | None:
        return await find_digest(tx, consumer, event_key(event))

    try:
        found = await context.state.database.read(find)
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
