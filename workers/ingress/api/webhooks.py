"""Webhooks of the platforms: verified ones become events, acknowledged once these are durable."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import get_args

from aiohttp import web

from events import WebhookUnrecognised
from events.envelope import Event, now
from handlers.webhooks import SOURCES, InvalidSignature, Unrecognised, build_unrecognised
from infra import metrics
from infra.metrics.loop_metrics import LoopValue
from infra.security.hmac_signature import SignatureCheckName
from infra.web.errors import HttpError, not_found, unavailable
from infra.web.rate_limits import WEBHOOKS
from infra.web.responses import raw_json
from workers.ingress.context import RequestContext
from workers.ingress.http.parsing import read_body

RECEIVED_BODY = b'{"received": true}'
SKEWS = {source: metrics.WEBHOOK_SKEW_SECONDS.labels(source) for source in SOURCES}
LAST_ACCEPTED = {source: metrics.WEBHOOK_LAST_ACCEPTED.labels(source) for source in SOURCES}
COUNTERS = {
    (source, outcome): metrics.WEBHOOKS.labels(source, outcome)
    for source in SOURCES
    for outcome in metrics.WEBHOOK_OUTCOMES
}
BAD_SIGNATURES = {
    (source, check): metrics.WEBHOOK_BAD_SIGNATURES.labels(source, check)
    for source in SOURCES
    for check in get_args(SignatureCheckName)
}


async def post_webhook(context: RequestContext) -> web.Response:
    """Respond with 200 once all events of a webhook are durable.

    The 401 does not reveal what is wrong with a signature. A verified webhook of an unknown kind
    is recorded as an event; it is no error for the sender.

    The source's rate limit is checked after the signature: a forged webhook costs one MAC, about
    as much as a rate-limit check, and must not use up the limit of the real sender. There is no
    limit by address before it either, which another client behind the same proxy could use up.
    """
    name = context.request.match_info["source"]
    source = SOURCES.get(name)
    if source is None:
        raise not_found("webhook source")
    try:
        body = await read_body(context.request)
    except HttpError:
        COUNTERS[name, "refused"].inc()
        raise
    secrets, received = context.state.webhook_secrets[name], now()
    try:
        verified = source.verify(context.request.headers, body, secrets, received)
    except InvalidSignature as error:
        _observe_skew(name, error.skew)
        COUNTERS[name, "bad_signature"].inc()
        BAD_SIGNATURES[name, error.check].inc()
        context.state.webhook_recorder.note_refused(name, error.check, context.client.address)
        raise _bad_signature(error.reason) from None
    _observe_skew(name, verified.skew)
    _slot_counter(name, verified.slot).inc()
    try:
        context.state.rate_limiter.take(WEBHOOKS, name, len(body))
    except HttpError:
        COUNTERS[name, "limited"].inc()
        raise
    delivery, trace_attributes = verified.delivery, context.ids.trace_attributes
    try:
        events = source.parse_events(body, delivery, received=received, **trace_attributes)
    except Unrecognised as error:
        events = [
            build_unrecognised(name, error.reason, body, delivery, received, **trace_attributes)
        ]
    unclear = any(isinstance(event, WebhookUnrecognised) for event in events)
    try:
        await _publish(context, events, f"webhook {name} slot={verified.slot}")
    except HttpError:
        COUNTERS[name, "unavailable"].inc()
        raise
    COUNTERS[name, "unrecognised" if unclear else "accepted"].inc()
    if not unclear:
        LAST_ACCEPTED[name].set(received.timestamp())
    return raw_json(RECEIVED_BODY)


async def _publish(context: RequestContext, events: list[Event], door: str) -> None:
    received = map(context.state.webhook_deliveries.with_first_received_time, events)
    messages = [
        context.build_message(event, with_time=event.has_time, door=door) for event in received
    ]
    if len(messages) == 1:
        await context.state.durable_publisher.publish(messages[0])
    elif not all(await context.state.durable_publisher.publish_all(messages)):
        raise unavailable("The webhook could not be stored.")


def begin_metrics(webhook_secrets: Mapping[str, Sequence[str]]) -> None:
    """Begin the counters of the secrets of each source at 0."""
    for name, secrets in webhook_secrets.items():
        for slot in range(1, len(secrets) + 1):
            _slot_counter(name, slot)


@cache
def _slot_counter(source: str, slot: int) -> LoopValue:
    return metrics.WEBHOOK_SECRET_SLOTS.labels(source, str(slot))


def _observe_skew(source: str, skew: float | None) -> None:
    if skew is not None:
        SKEWS[source].observe(abs(skew))


def _bad_signature(reason: str) -> HttpError:
    return HttpError(
        401,
        "INVALID_SIGNATURE",
        "The signature is missing or not valid.",
        headers={"WWW-Authenticate": "Signature"},
        reason=reason,
    )
