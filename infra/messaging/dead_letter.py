"""Decodes a message of a ``.dead`` queue as a dead letter, to be filed in Postgres.

Filing has nowhere to send what it cannot file, so decoding a dead letter never fails: texts are
bounded and storable, times are of this century, and what is not UTF-8 is written in hexadecimal.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any
from uuid import UUID

import orjson

from events.envelope import now
from infra.amqp.content_header import Undecodable
from infra.messaging.decoder import DecodedDelivery
from infra.messaging.delivery import Delivery
from infra.messaging.digest import hash_to_uuid
from infra.messaging.headers import (
    ATTEMPTS,
    BODY_LENGTH,
    BODY_SHA256,
    ERROR_CLASS,
    FIRST_FAILED,
    KEY,
    LAST_FAILED,
    LEFT_OUT,
    MESSAGE_ID,
    REASON,
    REPLAYS,
    STAGE,
    UNDECODABLE,
    USER,
    WORKER,
)
from infra.messaging.kept_headers import select_headers
from infra.messaging.republish import REASON_LENGTH, derive_message_id
from infra.messaging.subscription import Decoder
from infra.storage.dead_letters import DeadLetterRow

UNKNOWN = "unknown"
BROKER_STAGE = "broker"  # the broker dead-lettered it itself
PARSE_STAGE = "parse"  # a webhook was not recognised
NUMBER = re.compile(r"[0-9]+")
NAME_LENGTH = 255  # characters of names; some are indexed, and an index entry has its limit
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
MAX_PEEK_BYTES = 1024 * 1024  # a larger body is filed without being parsed


def make_dead_letter_decoder(queue: str) -> Decoder:
    """Make the decoder of ``<queue>.dead``; it accepts every message."""

    def receive(delivery: Delivery) -> DecodedDelivery:
        letter = parse_dead_letter(queue, delivery)
        # Same time and reason: a redelivery. Otherwise a new failure of the same message.
        death = f"{letter.id}\0{letter.last_failed_at.isoformat()}\0{letter.reason}"
        key = hash_to_uuid(death.encode())
        failed = letter.last_failed_at.timestamp()
        return DecodedDelivery(delivery, letter, key, letter.id, failed)

    return receive


def reduce_dead_letter(item: DecodedDelivery) -> DecodedDelivery:
    """Reduce a dead letter to what no database rejects: queue, body, times and ASCII text."""
    letter: DeadLetterRow = item.event
    plain = replace(
        letter,
        routing_key=ascii(letter.routing_key),
        message_id=None,
        type=None,
        source=None,
        event_id=None,
        properties={"content_type": "", "type": "", "correlation_id": "", "headers": {}},
        reason=ascii(letter.reason),
        worker=UNKNOWN,
    )
    return replace(item, event=plain)


def parse_dead_letter(queue: str, delivery: Delivery) -> DeadLetterRow:
    """Parse a delivery from ``<queue>.dead``; never fails."""
    headers = delivery.headers
    ours = REASON in headers and not _is_by_broker(delivery)
    first, last = _time(headers.get(FIRST_FAILED)), _time(headers.get(LAST_FAILED))
    error_class = _name(headers.get(ERROR_CLASS)) if ours else _broker_reason(delivery)
    stage = _name(headers.get(STAGE)) if ours else BROKER_STAGE
    event = _peek(delivery)
    kind = _name(event.get("type") or delivery.properties.message_type) or None
    source = _name(event.get("source")) or None
    reason = _text(headers.get(REASON)) if ours else f"the broker gave up: {error_class}"
    return DeadLetterRow(
        id=_letter_id(queue, delivery, event),
        queue=queue,
        routing_key=_text(headers.get(KEY)) or _first_key(delivery),
        message_id=_message_id(delivery) or None,
        type=kind,
        source=source,
        event_id=_name(event.get("id")) or None,
        body=delivery.body,
        properties=_properties(delivery),
        reason=reason,
        error_class=error_class,
        stage=stage,
        worker=_name(headers.get(WORKER)) or "broker",
        attempts=_count(headers.get(ATTEMPTS)),
        first_failed_at=first or last or now(),
        last_failed_at=last or first or now(),
        fingerprint=_fingerprint(queue, error_class, stage, kind, *_cause(stage, source, reason)),
        replays=_count(headers.get(REPLAYS)),
    )


def find_letter_id(queue: str, delivery: Delivery) -> UUID:
    """Find the id of the dead letter that an event of the log becomes, if ``queue`` rejects it."""
    message_id = _name(delivery.message_id or derive_message_id(delivery))
    return _hash_letter(queue, _peek(delivery), message_id, 0, delivery.body)


def read_names(delivery: Delivery) -> tuple[str, str] | None:
    """Read source and id of an event, which need not be valid; None where one is missing."""
    event = _peek(delivery)
    source, event_id = event.get("source"), event.get("id")
    return (source, event_id) if source and event_id else None


def _letter_id(queue: str, delivery: Delivery, event: dict[str, str]) -> UUID:
    replays = _count(delivery.headers.get(REPLAYS))
    return _hash_letter(queue, event, _message_id(delivery), replays, delivery.body)


def _hash_letter(
    queue: str, event: Mapping[str, str], message_id: str, replays: int, body: bytes
) -> UUID:
    """Hash what identifies a dead letter: queue, event (or message), replays, body."""
    names = [event.get("source", ""), event.get("id", "")]
    if not all(names):
        names = ["", message_id]
    parts = (queue, *names, str(replays))
    hashed = blake2b("\0".join(parts).encode(errors="replace"), digest_size=16)
    hashed.update(body)
    return UUID(bytes=hashed.digest())


def _message_id(delivery: Delivery) -> str:
    """Get the message id of the first publish; Adrelay keeps it in a header."""
    kept = None if _is_by_broker(delivery) else delivery.headers.get(MESSAGE_ID)
    return _name(kept or delivery.properties.message_id)


def _cause(stage: str, source: str | None, reason: str) -> tuple[str | None, ...]:
    """Tell what is wrong in webhooks apart, which all have one type: whose they are, and why.

    The numbers in a reason (a place, a size) are those of one body.
    """
    return (source, NUMBER.sub("0", reason)) if stage == PARSE_STAGE else ()


def _fingerprint(*parts: str | None) -> str:
    return blake2b("\0".join(part or "" for part in parts).encode(), digest_size=6).hexdigest()


def _properties(delivery: Delivery) -> dict[str, Any]:
    """Keep what a replay needs to look like the original, and say what could not be kept.

    ``undecodable`` shows headers whose text is not UTF-8; ``headers_left_out`` counts those that
    were too many or too large; ``body_truncated``, ``body_length`` (bytes) and ``body_sha256``
    say what the body was of which only the beginning is here. They are absent where all is.
    """
    headers = delivery.headers
    kept = select_headers(delivery)
    stays = {_text(name): _text(value) for name, value in kept.headers.items()}
    if user := _first_user(delivery):
        stays[USER] = user
    properties: dict[str, Any] = {
        "content_type": _text(delivery.properties.content_type),
        "type": _text(delivery.properties.message_type),
        "correlation_id": _text(delivery.properties.correlation_id),
        "headers": stays,
    }
    told = {} if _is_by_broker(delivery) else headers
    shown = kept.undecodable | _strings(told.get(UNDECODABLE))
    if shown:
        properties["undecodable"] = {_text(name): _text(value) for name, value in shown.items()}
    if left_out := kept.left_out + _count(told.get(LEFT_OUT)):
        properties["headers_left_out"] = left_out
    return properties | _whole_body(delivery, told)


def _whole_body(delivery: Delivery, told: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a body of which only the beginning was kept, here or by its sender."""
    if delivery.whole is not None:
        length, sha256 = delivery.whole
    elif BODY_LENGTH in told:
        length, sha256 = _count(told[BODY_LENGTH]), _name(told.get(BODY_SHA256))
    else:
        return {}
    return {"body_truncated": True, "body_length": length, "body_sha256": sha256}


def _strings(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {name: text for name, text in value.items() if isinstance(text, str)}


def _peek(delivery: Delivery) -> dict[str, str]:
    """Read id, source and type, where they can be read."""
    if attributes := delivery.attributes:
        return _strings(attributes)
    if len(delivery.body) > MAX_PEEK_BYTES:
        return {}
    try:
        return _strings(orjson.loads(delivery.body))
    except (orjson.JSONDecodeError, RecursionError):
        return {}


def _is_by_broker(delivery: Delivery) -> bool:
    """Tell whether the broker dead-lettered it; Adrelay's own dead letters lack the header."""
    return "x-death" in delivery.headers


def _first_user(delivery: Delivery) -> str | None:
    """Get who published it first, or None where that is not certain.

    Our header says it of a dead letter of our own. A message that the broker gave up may have
    brought the header along from anybody, so there it counts only if the broker agrees.
    """
    claimed = _text(delivery.headers.get(USER)) or None
    if not _is_by_broker(delivery):
        return claimed
    return delivery.user_id if claimed in (None, delivery.user_id) else None


def _broker_reason(delivery: Delivery) -> str:
    deaths = delivery.headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict):
        return _name(deaths[0].get("reason")) or UNKNOWN
    return UNKNOWN


def _first_key(delivery: Delivery) -> str:
    deaths = delivery.headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict):
        keys = deaths[0].get("routing-keys")
        if isinstance(keys, list) and keys:
            return _text(keys[0])
    return delivery.key


def _text(value: object, length: int = REASON_LENGTH) -> str:
    """Make text that Postgres stores: no NUL, no lone surrogate, bounded in characters."""
    text = str(value)[:length] if isinstance(value, str | Undecodable) else ""
    return text.replace("\0", "\\0").encode(errors="replace").decode()


def _name(value: object) -> str:
    return _text(value, NAME_LENGTH)


def _time(value: object) -> datetime | None:
    """Parse a time; None for one before 2020 or that no column holds."""
    try:
        found = datetime.fromisoformat(str(value)) if isinstance(value, str) else None
        return found.astimezone(UTC) if found and found.tzinfo and found >= EARLIEST else None
    except (ValueError, OverflowError):
        return None


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0
