"""What the broker hands us: bytes and headers that anybody may have written.

Our own headers count only on a message that came back over ``adrelay.back``, where no
publisher but us may send. ``decode`` trusts nothing: size first, then the type that the
routing key names, then one validating pass of the parser.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any
from uuid import UUID

from pamqp.commands import Basic
from pamqp.header import ContentHeader
from pydantic import ValidationError

from events.envelope import Event, MissingAttributes, decode, decode_binary, now
from infra.amqp import topology
from infra.amqp.content_header import Properties, Undecodable, decode_content_header, user_id_in
from infra.amqp.partial_delivery import DeliveryCallback, WholeBody
from infra.errors import Permanent, drop_frames
from infra.messaging import content_mode
from infra.messaging.digest import content_digest
from schemas.escaping import NAME_LENGTH, escape

KEY = "x-adrelay-key"  # the routing key of the first publish
ATTEMPT = "x-adrelay-attempt"  # failed attempts so far
WAITED = "x-adrelay-waited"  # seconds of waiting that failures have cost so far
FIRST_FAILED = "x-adrelay-first-failed"  # ISO 8601, UTC
USER = "x-adrelay-user"  # the user id that the broker validated at the first publish
REPLAYS = "x-adrelay-replays"  # how often a person replayed it
MESSAGE_ID = "x-adrelay-message-id"  # of the first publish
BODY_LENGTH = "x-adrelay-body-length"  # bytes of the body of which only the beginning is here
BODY_SHA256 = "x-adrelay-body-sha256"  # of that whole body, in hexadecimal

CLOCK_SKEW = timedelta(minutes=5)
MAX_NUMBER = 2**31  # beyond it, none of our headers has been written by us
MESSAGE_LENGTH = 300  # characters of what the parser says about one field
COUNTED = b"x-delivery-count"
log = logging.getLogger(__name__)


class Delivery:
    """One message in hand; ``tag`` is its delivery tag on the channel it came by.

    Its properties are decoded only when something asks for them: a healthy message in
    structured mode never does.
    """

    __slots__ = (
        "_properties",
        "_whole",
        "body",
        "exchange",
        "header",
        "key",
        "queue",
        "redelivered",
        "tag",
        "weight",
    )

    def __init__(
        self,
        tag: int,
        queue: str,
        exchange: str,
        key: str,
        body: bytes,
        header: bytes | Basic.Properties,
        whole: WholeBody | None = None,
        *,
        redelivered: bool,
    ) -> None:
        """``header`` is the content header as it came (or properties to make one of).

        ``whole`` says what the body was, where ``body`` is only its beginning.
        """
        self.tag = tag
        self.queue = queue
        self.exchange = exchange
        self.key = key
        self.body = body
        self._whole = whole
        self.redelivered = redelivered
        self.header = header if isinstance(header, bytes) else _header_of(header, len(body))
        self.weight = len(body) + len(self.header)  # bytes that it keeps in memory
        self._properties: Properties | None = None

    @property
    def whole(self) -> WholeBody | None:
        """What its body was, where ``body`` is only the beginning of it."""
        if self._whole is None and self.is_requeued and (length := self._number(BODY_LENGTH)):
            return WholeBody(length, str(self.headers.get(BODY_SHA256)))
        return self._whole

    @property
    def size(self) -> int:
        """How many bytes its body had."""
        if self._whole is None and self.exchange != topology.RETURN_EXCHANGE:
            return len(self.body)
        whole = self.whole
        return len(self.body) if whole is None else whole.length

    @property
    def properties(self) -> Properties:
        """The AMQP properties; decoding them never fails."""
        if self._properties is None:
            self._properties = decode_content_header(self.header)
        return self._properties

    @property
    def headers(self) -> Mapping[str, Any]:
        """The headers among the properties."""
        return self.properties.headers

    @property
    def attributes(self) -> dict[str, Any]:
        """CloudEvents attributes of a message in binary mode; none in structured mode.

        Values are the canonical strings of their types (CloudEvents 1.0, section 3.1); what has
        none, such as a table, is as it came.
        """
        header = self.header
        if content_mode.is_structured(header) or not content_mode.may_be_binary(header):
            return {}
        if content_mode.is_format(self.properties.content_type):
            return {}
        return content_mode.attributes_of(self.headers)

    @property
    def is_requeued(self) -> bool:
        """Whether it came back to this queue from the retry ladder or the dead-letter office."""
        return self.exchange == topology.RETURN_EXCHANGE

    @property
    def routing_key(self) -> str:
        """The routing key of the first publish."""
        return str(self.headers.get(KEY, "")) if self.is_requeued else self.key

    @property
    def message_id(self) -> str | None:
        """The message id of the first publish."""
        kept = self.headers.get(MESSAGE_ID) if self.is_requeued else None
        return kept if isinstance(kept, str) else self.properties.message_id

    @property
    def attempts(self) -> int:
        """Failed attempts before this one."""
        return self._number(ATTEMPT)

    @property
    def seconds_waited(self) -> int:
        """Seconds that failures have made it wait so far; pauses and snoozes do not count."""
        return self._number(WAITED)

    @property
    def replays(self) -> int:
        """How often a person sent it again."""
        return self._number(REPLAYS)

    @property
    def first_failed(self) -> datetime | None:
        """When its first attempt failed (UTC)."""
        if not self.is_requeued:
            return None
        try:
            return (
                datetime.fromisoformat(str(self.headers[FIRST_FAILED]))
                if self.is_requeued
                else None
            )
        except (KeyError, ValueError):
            return None

    @property
    def user_id(self) -> str | None:
        """Who published it last, as the broker validated it."""
        return user_id_in(self.header)

    @property
    def user(self) -> str | None:
        """Who published it first, as the broker validated it then."""
        return str(self.headers.get(USER) or "") or None if self.is_requeued else self.user_id

    @property
    def delivery_count(self) -> int:
        """How often it was delivered before and came back unsettled."""
        if not self.redelivered or COUNTED not in self.header:
            return int(self.redelivered)
        count = self.headers.get("x-delivery-count")
        return count if isinstance(count, int) else int(self.redelivered)

    def _number(self, name: str) -> int:
        value = self.headers.get(name, 0) if self.is_requeued else 0
        return value if isinstance(value, int) and 0 <= value < MAX_NUMBER else 0


@dataclass(frozen=True, slots=True, eq=False)
class DecodedDelivery:
    """A delivery and the event it carries, with the inbox's key and digest of it."""

    delivery: Delivery
    event: Any  # an Event, or what a subscription's own ``decode_delivery`` made of the delivery
    key: UUID
    digest: UUID


def delivery_callback(queue: str, take: Callable[[Delivery], None]) -> DeliveryCallback:
    """Make what the tap calls with the parts of a delivery from ``queue``; ``take`` gets it."""

    def sink(
        tag: int,
        redelivered: bool,  # noqa: FBT001 - as the frame has it
        exchange: str,
        key: str,
        header: bytes,
        body: bytes,
        whole: WholeBody | None,
    ) -> None:
        take(Delivery(tag, queue, exchange, key, body, header, whole, redelivered=redelivered))

    return sink


def _header_of(properties: Basic.Properties, size: int) -> bytes:
    return ContentHeader(body_size=size, properties=properties).marshal()


def decode_delivery(
    delivery: Delivery, types: Mapping[str, type[Event]], max_bytes: int
) -> DecodedDelivery:
    """Decode and validate a delivery; raises ``Permanent`` with the reason in words."""
    if delivery.size > max_bytes:
        raise Permanent(
            f"the body has {delivery.size} bytes, the limit is {max_bytes}", code="TOO_LARGE"
        )
    routing_key = delivery.routing_key
    kind = ".".join(routing_key.split(".", 3)[:3])
    cls = types.get(kind)
    if cls is None:
        raise Permanent(
            f"the routing key {routing_key[:200]!r} names no event that {delivery.queue} accepts",
            code="UNKNOWN_TYPE",
        )
    event = _decode(cls, delivery)
    _check(event, routing_key, kind)
    return DecodedDelivery(delivery, event, event_key(event), content_digest(event))


def event_key(event: Event) -> UUID:
    """Hash (source, id), by which two events are the same event, to 128 bits."""
    text = f"{event.source}\0{event.id}"
    return UUID(bytes=blake2b(text.encode(), digest_size=16).digest())


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
    """Refuse batches, and event formats other than JSON; raises ``Permanent``."""
    wrong = content_mode.wrong_format(delivery.properties.content_type)
    if wrong is not None:
        raise Permanent(wrong, code="INVALID_EVENT")


def _check_attributes(attributes: Mapping[str, Any], delivery: Delivery) -> None:
    """Refuse attributes of types that CloudEvents does not have, and those given in two ways.

    Raises ``Permanent``.
    """
    # Two headers of one attribute make one attribute.
    alike = len(attributes) < len(delivery.headers)
    if alike and (twice := content_mode.contradiction(delivery.header, delivery.headers)):
        raise Permanent(
            f"{escape(twice, NAME_LENGTH)}: given twice, with different values",
            code="INVALID_EVENT",
        )
    for name, value in attributes.items():
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


def _check(event: Event, routing_key: str, kind: str) -> None:
    if routing_key not in (kind, event.routing_key):
        raise Permanent(
            f"the routing key is {routing_key[:200]!r}, but the event's is {event.routing_key!r}",
            code="KEY_MISMATCH",
        )
    if event.time - now() > CLOCK_SKEW:
        raise Permanent(
            f"time: {event.time.isoformat()} is more than 5 minutes ahead",
            code="TIMESTAMP_IN_FUTURE",
        )


def to_permanent(error: Exception) -> Permanent:
    """Make any exception of reading a message that message's verdict, and log what is a bug."""
    if isinstance(error, Permanent):
        drop_frames(error)
        return error
    log.error("a message cannot be read", exc_info=error)
    return Permanent(f"it cannot be read: {type(error).__name__}", code="UNREADABLE")


def describe_errors(error: ValidationError) -> str:
    """Tell what is wrong with an event, field by field, without quoting its values."""
    lines = [
        f"{'.'.join(escape(str(part), NAME_LENGTH) for part in line['loc']) or 'event'}: "
        f"{escape(line['msg'], MESSAGE_LENGTH)}"
        for line in error.errors(include_input=False, include_url=False, include_context=False)
    ]
    shown = lines[:20]
    more = [f"and {len(lines) - 20} more"] if len(lines) > 20 else []  # noqa: PLR2004 - what a person reads
    return "; ".join([*shown, *more])
