"""Webhooks of the platforms: genuine ones become events and are answered once these are safe."""

from aiohttp import web

from events import WebhookUnrecognised
from events.envelope import Event, now
from handlers.webhooks import SOURCES, InvalidSignature, Unrecognised, build_unrecognised
from infra import metrics
from infra.amqp.message import build_message
from workers.ingress.context import RequestContext
from workers.ingress.http.errors import HttpError, not_found, unavailable
from workers.ingress.http.parsing import read_body
from workers.ingress.http.rate_limits import WEBHOOKS
from workers.ingress.http.responses import raw_json

RECEIVED_BODY = b'{"received": true}'
COUNTERS = {
    (source, outcome): metrics.WEBHOOKS.labels(source, outcome)
    for source in SOURCES
    for outcome in metrics.WEBHOOK_OUTCOMES
}


async def post_webhook(context: RequestContext) -> web.Response:
    """Answer 200 when everything that a webhook says is durable.

    401 looks the same whatever is wrong with a signature. What is genuine but means nothing
    to us is kept as an event, and no error to the sender.

    The source's budget is asked after its signature: what others send in its name costs a
    MAC, as it would cost a look into a budget, and must leave the budget to the genuine
    sender. Nor is there a budget by address before it, which a stranger behind the same proxy
    could spend.
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
        delivery = source.verify(context.request.headers, body, secrets, received)
    except InvalidSignature as error:
        COUNTERS[name, "bad_signature"].inc()
        raise _bad_signature(error.reason) from None
    try:
        context.state.rate_limiter.take(WEBHOOKS, name, len(body))
    except HttpError:
        COUNTERS[name, "limited"].inc()
        raise
    trace_attributes = context.ids.trace_attributes
    try:
        events = source.parse_events(body, delivery, received=received, **trace_attributes)
    except Unrecognised as error:
        events = [
            build_unrecognised(name, error.reason, body, delivery, received, **trace_attributes)
        ]
    unclear = any(isinstance(event, WebhookUnrecognised) for event in events)
    try:
        await _publish(context, events)
    except HttpError:
        COUNTERS[name, "unavailable"].inc()
        raise
    COUNTERS[name, "unrecognised" if unclear else "accepted"].inc()
    return raw_json(RECEIVED_BODY)


async def _publish(context: RequestContext, events: list[Event]) -> None:
    received = map(context.state.webhook_deliveries.with_first_received_time, events)
    messages = [build_message(event, with_time=event.has_time) for event in received]
    if len(messages) == 1:
        await context.state.durable_publisher.publish(messages[0])
    elif not all(await context.state.durable_publisher.publish_all(messages)):
        raise unavailable("The webhook could not be stored.")


def _bad_signature(reason: str) -> HttpError:
    return HttpError(
        401,
        "INVALID_SIGNATURE",
        "The signature is missing or not valid.",
        headers={"WWW-Authenticate": "Signature"},
        reason=reason,
    )
