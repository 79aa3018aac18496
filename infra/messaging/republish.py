"""Builds the messages that settle a delivery: a reply, a retry, a dead letter, a requeue.

Every message is built from selected parts of the original: no other header or property is copied.
"""

import socket
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson

from infra.amqp import topology
from infra.amqp.frame_encoder import MAX_BODY_BYTES
from infra.amqp.message import Message, fit, fit_text
from infra.messaging.delivery import Delivery
from infra.messaging.headers import (
    ACCEPTED,
    ATTEMPT,
    ATTEMPTS,
    BODY_LENGTH,
    BODY_SHA256,
    ERROR_CLASS,
    FIRST_FAILED,
    KEY,
    LAST_FAILED,
    LEFT_OUT,
    MESSAGE_ID,
    PREFIX,
    REASON,
    REPLAYS,
    STAGE,
    UNDECODABLE,
    USER,
    WAITED,
    WORKER,
)
from infra.messaging.kept_headers import select_headers
from infra.messaging.retry_policy import DeadLetterDecision, RetryDecision

REPLY_TO = "amq.rabbitmq.reply-to."  # the only reply address we accept
# The answer to a request that could not be handled; nobody has to wait for the deadline.
SERVICE_UNAVAILABLE = {
    "status": 503,
    "error": {"code": "SERVICE_UNAVAILABLE", "message": "try again in a moment"},
}
REASON_LENGTH = 2000  # characters
MICROSECONDS = 1_000_000


def retry_message(
    delivery: Delivery, retry: RetryDecision, at: datetime, accepted: float | None = None
) -> Message:
    """Build a retry: it waits in a tier, and returns to its own queue alone.

    ``accepted`` is when the event was accepted, in seconds since 1970.
    """
    headers = _build_headers(delivery, at, accepted)
    headers |= {ATTEMPT: retry.attempt, WAITED: retry.seconds_waited}
    return _republish(delivery, topology.retry_exchange(retry.tier), headers)


def dead_message(delivery: Delivery, dead: DeadLetterDecision, stage: str, at: datetime) -> Message:
    """Build a dead letter, with the reason and the history of the failure."""
    headers = _build_headers(delivery, at) | {
        REASON: dead.reason[:REASON_LENGTH],
        ERROR_CLASS: dead.error_class,
        STAGE: stage,
        ATTEMPTS: dead.attempts,
        LAST_FAILED: at.isoformat(),
        WORKER: socket.gethostname(),
    }
    return _republish(delivery, topology.DEAD_LETTER_EXCHANGE, headers)


def requeue_message(
    delivery: Delivery, queue: str, at: datetime, accepted: float | None = None
) -> Message:
    """Build a message to one queue alone; its first publisher stays its publisher.

    ``accepted`` is when the event was accepted, in seconds since 1970.
    """
    headers = _build_headers(delivery, at, accepted)
    return _republish(delivery, topology.RETURN_EXCHANGE, headers, queue)


def reply_message(delivery: Delivery, answer: Mapping[str, Any]) -> Message | None:
    """Build a reply over direct reply-to; None where the request has no reply address.

    ``mandatory`` is off: a mandatory publish to a direct reply-to address is returned as
    unroutable although it is delivered.
    """
    address = delivery.properties.reply_to or ""
    if not address.startswith(REPLY_TO):
        return None
    return Message(
        exchange="",
        routing_key=address,
        body=orjson.dumps(answer),
        message_id=fit(f"reply:{delivery.properties.message_id}"),
        correlation_id=fit(delivery.properties.correlation_id or ""),
        content_type="application/json",
        persistent=False,
        mandatory=False,
    )


def _republish(
    delivery: Delivery, exchange: str, headers: dict[str, Any], queue: str | None = None
) -> Message:
    properties = delivery.properties
    return Message(
        exchange=exchange,
        routing_key=queue or delivery.queue,
        body=delivery.body,
        message_id=fit(delivery.message_id or derive_message_id(delivery)),
        type=fit_text(properties.message_type or "") or None,
        correlation_id=fit(properties.correlation_id or "") or None,
        content_type=fit_text(properties.content_type or "application/octet-stream"),
        headers=headers,
    )


def without_publisher_headers(message: Message) -> Message:
    """Drop the headers that the publisher wrote; those of Adrelay are small."""
    ours = {
        name: value
        for name, value in message.headers.items()
        if name.startswith(PREFIX) and isinstance(value, str | int)
    }
    return message._replace(headers=ours, body=message.body[:MAX_BODY_BYTES])


def derive_message_id(delivery: Delivery) -> str:
    """Derive an id for a message without one from its content, the same each time."""
    attributes = sorted(delivery.attributes.items())
    return uuid5(NAMESPACE_URL, f"{delivery.key}{attributes}{delivery.body.hex()}").hex


def _build_headers(
    delivery: Delivery, at: datetime, accepted: float | None = None
) -> dict[str, Any]:
    """Build the headers that stay: Adrelay's own, binary CloudEvents attributes, the trace."""
    kept = select_headers(delivery)
    headers: dict[str, Any] = dict(kept.headers)
    if kept.left_out:
        headers[LEFT_OUT] = kept.left_out
    if (whole := delivery.whole) is not None:
        headers |= {BODY_LENGTH: whole.length, BODY_SHA256: whole.sha256}
    if kept.undecodable:
        headers[UNDECODABLE] = dict(kept.undecodable)
    if delivery.trace is not None:
        headers |= delivery.trace.attributes
    headers[KEY] = delivery.routing_key
    if accepted is not None:
        headers[ACCEPTED] = int(accepted * MICROSECONDS)
    if delivery.message_id:
        headers[MESSAGE_ID] = delivery.message_id
    headers[FIRST_FAILED] = (delivery.first_failed or at).isoformat()
    if delivery.replays:
        headers[REPLAYS] = delivery.replays
    if delivery.user:
        headers[USER] = delivery.user
    return headers
