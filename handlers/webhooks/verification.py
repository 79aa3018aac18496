"""Says what the ingress would do with a webhook: which check fails, or which events it becomes.

The same functions as in the ingress judge it. Nothing is published, and neither a secret nor the
signature that would be right is part of the result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from events import WebhookUnrecognised
from events.envelope import Event
from handlers.webhooks import SOURCES, InvalidSignature, Unrecognised, build_unrecognised
from infra.security.hmac_signature import VerifiedSignature
from infra.security.standard_webhooks import TIMESTAMP_GRAMMAR, TIMESTAMP_HEADER

# In the order in which they are made. ``item`` is one of several events in a body.
WebhookCheck = Literal[
    "size", "secrets", "headers", "signature", "timestamp", "body", "kind", "item"
]


@dataclass(frozen=True, slots=True)
class WebhookVerification:
    """The outcome: ``failed`` is the first check that fails, None if all succeed.

    ``slot`` numbers the secret that matched, from 1 (the newest). ``skew`` is how many seconds our
    clock is ahead of the signed time. ``answer`` is the HTTP status that the sender gets.
    """

    failed: WebhookCheck | None
    reason: str
    answer: int
    slot: int | None = None
    skew: float | None = None
    delivery: str | None = None
    events: tuple[Event, ...] = ()


def verify_webhook(
    source: str,
    headers: Mapping[str, str],
    body: bytes,
    secrets: Sequence[str],
    now: datetime,
    *,
    max_bytes: int,
) -> WebhookVerification:
    """Verify a webhook as received at ``now`` (aware); ``headers`` may hold a name twice.

    Raises ``KeyError`` for an unknown source.
    """
    module = SOURCES[source]
    if len(body) > max_bytes:
        reason = f"the body has {len(body)} bytes, more than MAX_BODY_BYTES ({max_bytes})"
        return WebhookVerification("size", reason, 413)
    if not secrets:
        reason = f"{source.upper()}_WEBHOOK_SECRET is not set: no signature can match"
        return WebhookVerification("secrets", reason, 401)
    try:
        verified = module.verify(headers, body, secrets, now)
    except InvalidSignature as error:
        skew = _read_skew(headers, now) if error.skew is None else error.skew
        return WebhookVerification(error.check, error.reason, 401, error.slot, skew)
    return _parse(source, body, verified, now)


def _parse(
    source: str, body: bytes, verified: VerifiedSignature, now: datetime
) -> WebhookVerification:
    delivery, reason = verified.delivery, "every check succeeds"
    failed: WebhookCheck | None = None
    try:
        events = SOURCES[source].parse_events(body, delivery, received=now)
    except Unrecognised as error:
        failed, reason = ("kind" if error.is_unknown_kind else "body"), error.reason
        events = [build_unrecognised(source, error.reason, body, delivery, now)]
    else:
        for number, event in enumerate(events, start=1):
            if isinstance(event, WebhookUnrecognised):
                failed, reason = "item", f"event {number} of {len(events)}: {event.data.reason}"
                break
    return WebhookVerification(
        failed, reason, 200, verified.slot, verified.skew, delivery, tuple(events)
    )


def _read_skew(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read how far ahead our clock is, of a timestamp whose signature is not verified."""
    values = [value for name, value in headers.items() if name.lower() == TIMESTAMP_HEADER]
    if len(values) != 1 or not TIMESTAMP_GRAMMAR.fullmatch(values[0]):
        return None
    return now.timestamp() - int(values[0])
