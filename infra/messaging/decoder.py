"""Reads a delivery as a validated event, or says what is wrong with it.

Nothing is trusted: size first, then the type that the routing key names, then one validating
pass of the parser.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from time import time
from typing import Any, TypeVar
from uuid import UUID

from pydantic import ValidationError

from events.envelope import Event, MissingAttributes, decode, decode_binary
from infra.amqp.content_header import Undecodable
from infra.errors import Permanent, drop_frames
from infra.messaging import content_mode
from infra.messaging.delivery import Delivery
from infra.messaging.digest import content_digest, hash_to_uuid
from infra.messaging.message_trace import with_message_trace
from infra.messaging.routing_key import parse_event_type
from schemas.escaping import NAME_LENGTH, escape
from schemas.trace_context import TRACE_ATTRIBUTES

CLOCK_SKEW = timedelta(minutes=5)
MAX_AHEAD = CLOCK_SKEW.total_seconds()
MESSAGE_LENGTH = 300  # characters of what the parser says about one field

E = TypeVar("E")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class DecodedDelivery:
    """A delivery and its event, with the inbox's key and digest of the event.

    ``event`` is an ``Event``, or what a subscription's own decoder made of the delivery;
    ``occurred`` is its own time in seconds since 1970, None where its sender told none.
    """

    delivery: Delivery
    event: Any
    key: UUID
    digest: UUID
    occurred: float | None = None


def decode_delivery(
    delivery: Delivery, types: Mapping[str, type[Event]], max_bytes: int
) -> DecodedDelivery:
    """Decode and validate a delivery; raises ``Permanent`` with the reason in words."""
    if delivery.size > max_bytes:
        raise Permanent(
            f"the body has {delivery.size} bytes, the limit is {max_bytes}", code="TOO_LARGE"
        )
    routing_key = delivery.routing_key
    kind = parse_event_type(routing_key)
    cls = types.get(kind)
    if cls is None:
        raise Permanent(
            f"the routing key {routing_key[:200]!r} names no event that {delivery.queue} accepts",
            code="UNKNOWN_TYPE",
        )
    event = with_message_trace(_decode(cls, delivery), delivery)
    at = event.time.timestamp()
    _check(event, at, routing_key, kind)
    occurred = at if event.has_time else None
    return DecodedDelivery(delivery, event, event_key(event), content_digest(event), occurred)


def event_key(event: Event) -> UUID:
    """Hash (source, id), which identifies an event, to 128 bits (CloudEvents 1.0.2, section 3)."""
    return hash_names(event.source, event.id)


def hash_names(source: str, event_id: str) -> UUID:
    """Hash source and id of an event to the key of the inbox."""
    return hash_to_uuid(f"{source}\0{event_id}".encode(errors="replace"))


def _decode(cls: type[Event], delivery: Delivery) -> Event:
    # Raised outside of the handling of the error, which would keep all of its input in memory.
    try:
        if content_mode.is_structured(delivery.header):
            return decode(cls, delivery.body)
        if attributes := delivery.attributes:
            _check_attributes(attributes, delivery)
            return decode_binary(cls, attributes, delivery.body)
        _check_format(delivery)
        return decode(cls, delivery.body)
    except ValidationError as error:
        reason = describe_errors(error)
    except MissingAttributes as error:
        reason = str(error)
    except (ValueError, RecursionError) as error:
        reason = f"the body is no JSON: {error}"
    raise Permanent(reason, code="INVALID_EVENT")


def _check_format(delivery: Delivery) -> None:
    """Reject batches, and event formats other than JSON; raises ``Permanent``."""
    wrong = content_mode.wrong_format(delivery.properties.content_type)
    if wrong is not None:
        raise Permanent(wrong, code="INVALID_EVENT")


def _check_attributes(attributes: Mapping[str, Any], delivery: Delivery) -> None:
    """Reject attributes of types that CloudEvents does not have, and contradicting ones.

    A malformed trace context is left to the event, where it counts as absent. Raises ``Permanent``.
    """
    # Two headers of one attribute make one attribute.
    alike = len(attributes) < len(delivery.headers)
    if alike and (twice := content_mode.contradiction(delivery.header, delivery.headers)):
        raise Permanent(
            f"{escape(twice, NAME_LENGTH)}: given twice, with different values",
            code="INVALID_EVENT",
        )
    for name, value in attributes.items():
        if name in TRACE_ATTRIBUTES:
            continue
        if isinstance(value, Undecodable):
            raise Permanent(
                f"{escape(name, NAME_LENGTH)}: its text is not UTF-8", code="INVALID_EVENT"
            )
        if not isinstance(value, str | None):
            kind = type(value).__name__
            reason = (
                f"{escape(name, NAME_LENGTH)}: CloudEvents has no attributes of the type {kind}"
            )
            raise Permanent(reason, code="INVALID_EVENT")


def _check(event: Event, at: float, routing_key: str, kind: str) -> None:
    if routing_key not in (kind, event.routing_key):
        raise Permanent(
            f"the routing key is {routing_key[:200]!r}, but the event's is {event.routing_key!r}",
            code="KEY_MISMATCH",
        )
    if at - time() > MAX_AHEAD:
        raise Permanent(
            f"time: {event.time.isoformat()} is more than 5 minutes ahead",
            code="TIMESTAMP_IN_FUTURE",
        )


def to_permanent(error: Exception) -> Permanent:
    """Make any exception of decoding the failure of that message, and log a bug."""
    if isinstance(error, Permanent):
        drop_frames(error)
        return error
    log.error("a message cannot be read", exc_info=error)
    return Permanent(f"it cannot be read: {type(error).__name__}", code="UNREADABLE")


def describe_errors(error: ValidationError) -> str:
    """Describe what is wrong with an event, field by field, without quoting its values."""
    lines = [
        f"{'.'.join(escape(str(part), NAME_LENGTH) for part in line['loc']) or 'event'}: "
        f"{escape(line['msg'], MESSAGE_LENGTH)}"
        for line in error.errors(include_input=False, include_url=False, include_context=False)
    ]
    shown = lines[:20]
    more = [f"and {len(lines) - 20} more"] if len(lines) > 20 else []  # noqa: PLR2004 - what a person reads
    return "; ".join([*shown, *more])
