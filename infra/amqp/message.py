"""What we publish: a message whose properties are built afresh, never copied.

Copied CC, BCC, expiration, user_id, reply_to and death headers were each seen to
duplicate, drop or close something; so ``Message`` has no place for them. The user id that
every publish carries is the connection's, and comes with it: the broker closes a channel on
which another one is claimed.
"""

from collections.abc import Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, NamedTuple

from pamqp.commands import Basic

from events.envelope import CONTENT_TYPE, Event, encode, now
from infra.amqp import topology

APP_ID = "adrelay"
PERSISTENT = 2
TRANSIENT = 1
MAX_SHORT_STRING = 255  # bytes of an AMQP short string; an event's attributes have 200 characters
NO_HEADERS: Mapping[str, Any] = MappingProxyType({})


class Message(NamedTuple):
    """Bytes on their way to an exchange; ``message_id`` stays the same when it is repeated."""

    exchange: str
    routing_key: str
    body: bytes
    message_id: str
    type: str | None = None
    correlation_id: str | None = None
    content_type: str = CONTENT_TYPE
    headers: Mapping[str, Any] = NO_HEADERS
    expiration_ms: int | None = None
    reply_to: str | None = None
    persistent: bool = True
    mandatory: bool = True

    def properties(self, user: str) -> Basic.Properties:
        """Build the AMQP properties that travel with the body, as ``user`` of the broker."""
        return Basic.Properties(
            content_type=self.content_type,
            headers=dict(self.headers) or None,
            delivery_mode=PERSISTENT if self.persistent else TRANSIENT,
            correlation_id=self.correlation_id,
            reply_to=self.reply_to,
            expiration=None if self.expiration_ms is None else str(self.expiration_ms),
            message_id=self.message_id,
            timestamp=now(),
            message_type=self.type,
            user_id=user,
            app_id=APP_ID,
        )


def build_message(
    event: Event,
    exchange: str = topology.EVENTS_EXCHANGE,
    *,
    with_time: bool = True,
    headers: Mapping[str, Any] = NO_HEADERS,
) -> Message:
    """Write an event as a message for ``exchange``, keyed by its type and platform.

    ``with_time`` is off where we pass on an event whose sender told no time. ``headers`` travel
    beside those of the event's trace.

    A request (``adrelay.requests``) is worthless after a restart, so it is not persistent.
    """
    return Message(
        exchange=exchange,
        routing_key=event.routing_key,
        body=encode(event, with_time=with_time),
        message_id=fit(event.id),
        type=event.type,
        correlation_id=fit(event.correlationid or event.id),
        headers={**headers, **trace.attributes} if (trace := event.trace_context) else headers,
        persistent=exchange != topology.REQUEST_EXCHANGE,
    )


def fit(name: str) -> str:
    """Give a name as it is, or its hash where it is too long for an AMQP property (255 bytes)."""
    if len(name) <= MAX_SHORT_STRING and (name.isascii() or len(name.encode()) <= MAX_SHORT_STRING):
        return name
    return blake2b(name.encode(), digest_size=16).hexdigest()


def fit_text(text: str) -> str:
    """Give the beginning of a text that fits into an AMQP property (255 bytes)."""
    return text.encode()[:MAX_SHORT_STRING].decode(errors="ignore")
