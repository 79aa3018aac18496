"""A dead letter: a message that was given up, with the reason, as the office files it."""

from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any
from uuid import UUID

import orjson

from events.base import attribute_text, now
from infra.delivery import FIRST_FAILED, KEY, PREFIXES, REPLAYS, USER, Delivery, Received
from infra.settle import ATTEMPTS, ERROR_CLASS, LAST_FAILED, PLACE, REASON, WORKER
from infra.subscription import Receive

UNKNOWN = "unknown"
PEEK_BYTES = 1024 * 1024  # a larger body is filed without being parsed


@dataclass(frozen=True, slots=True, eq=False)
class Letter:
    """One dead letter; ``id`` is the same when the same message dies again unchanged."""

    id: UUID
    queue: str
    routing_key: str
    message_id: str | None
    type: str | None
    source: str | None
    event_id: str | None
    body: bytes
    properties: dict[str, Any]
    reason: str
    error_class: str
    place: str
    worker: str
    attempts: int
    first_failed_at: datetime
    last_failed_at: datetime
    fingerprint: str
    replays: int

    @property
    def time(self) -> datetime:
        """When it died."""
        return self.last_failed_at


def receive_letter(queue: str) -> Receive:
    """Make the reader of ``<queue>.dead``; it accepts whatever has landed there."""

    def receive(delivery: Delivery) -> Received:
        letter = letter_of(queue, delivery)
        # The same death again is a redelivery; another death of the same message is news.
        death = f"{letter.id}\0{letter.last_failed_at.isoformat()}\0{letter.reason}"
        key = UUID(bytes=blake2b(death.encode(), digest_size=16).digest())
        return Received(delivery, letter, key, letter.id)

    return receive


def letter_of(queue: str, delivery: Delivery) -> Letter:
    """Read a delivery from ``<queue>.dead`` as a letter; never fails."""
    headers = delivery.headers
    ours = REASON in headers and not _is_by_broker(delivery)
    first, last = _time(headers.get(FIRST_FAILED)), _time(headers.get(LAST_FAILED))
    error_class = _text(headers.get(ERROR_CLASS)) if ours else _broker_reason(delivery)
    place = _text(headers.get(PLACE)) if ours else "broker"
    event = _peek(delivery)
    kind = _text(event.get("type") or delivery.properties.message_type) or None
    return Letter(
        id=_letter_id(queue, delivery, event),
        queue=queue,
        routing_key=_text(headers.get(KEY)) or _first_key(delivery),
        message_id=_text(delivery.properties.message_id) or None,
        type=kind,
        source=_text(event.get("source")) or None,
        event_id=_text(event.get("id")) or None,
        body=delivery.body,
        properties=_properties(delivery),
        reason=_text(headers.get(REASON)) if ours else f"the broker gave up: {error_class}",
        error_class=error_class,
        place=place,
        worker=_text(headers.get(WORKER)) or "broker",
        attempts=_count(headers.get(ATTEMPTS)),
        first_failed_at=first or last or now(),
        last_failed_at=last or first or now(),
        fingerprint=_fingerprint(queue, error_class, place, kind),
        replays=_count(headers.get(REPLAYS)),
    )


def _letter_id(queue: str, delivery: Delivery, event: dict[str, Any]) -> UUID:
    """Hash what makes it the same letter: queue, event (or message), replays, body."""
    name = (event.get("source"), event.get("id"))
    if None in name:
        name = ("", delivery.properties.message_id)
    parts = (queue, *name, delivery.headers.get(REPLAYS, 0))
    hashed = blake2b("\0".join(map(str, parts)).encode(errors="replace"), digest_size=16)
    hashed.update(delivery.body)
    return UUID(bytes=hashed.digest())


def _fingerprint(*parts: str | None) -> str:
    return blake2b("\0".join(part or "" for part in parts).encode(), digest_size=6).hexdigest()


def _properties(delivery: Delivery) -> dict[str, Any]:
    """Keep what a replay needs to look like the original."""
    kept = {
        name: _text(attribute_text(value))
        for name, value in delivery.headers.items()
        if name.startswith(PREFIXES) or name == "traceparent"
    }
    if user := _first_user(delivery):
        kept[USER] = user
    return {
        "content_type": _text(delivery.properties.content_type),
        "type": _text(delivery.properties.message_type),
        "correlation_id": _text(delivery.properties.correlation_id),
        "headers": kept,
    }


def _peek(delivery: Delivery) -> dict[str, Any]:
    """Read id, source and type, where they can be read at all."""
    for prefix in PREFIXES:
        if f"{prefix}id" in delivery.headers:
            return {name: delivery.headers.get(prefix + name) for name in ("id", "source", "type")}
    if len(delivery.body) > PEEK_BYTES:
        return {}
    try:
        body = orjson.loads(delivery.body)
    except (orjson.JSONDecodeError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _is_by_broker(delivery: Delivery) -> bool:
    """Tell whether the broker moved it here; what we publish ourselves has no such header."""
    return "x-death" in delivery.headers


def _first_user(delivery: Delivery) -> str | None:
    """Tell who published it first, or None where that cannot be known for sure.

    Our header says it of a dead letter of ours. A message that the broker gave up may have
    brought the header along from anybody, so there it counts only if the broker agrees.
    """
    claimed = _text(delivery.headers.get(USER)) or None
    if not _is_by_broker(delivery):
        return claimed
    return delivery.publisher if claimed in (None, delivery.publisher) else None


def _broker_reason(delivery: Delivery) -> str:
    deaths = delivery.headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict):
        return _text(deaths[0].get("reason")) or UNKNOWN
    return UNKNOWN


def _first_key(delivery: Delivery) -> str:
    deaths = delivery.headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict):
        keys = deaths[0].get("routing-keys")
        if isinstance(keys, list) and keys:
            return _text(keys[0])
    return delivery.key


def _text(value: object) -> str:
    """Make text that Postgres stores: no NUL, no lone surrogate, bounded."""
    text = "" if value is None else str(value)
    return text.replace("\0", "\\0").encode(errors="replace").decode()[:4000]


def _time(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo else None


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0
