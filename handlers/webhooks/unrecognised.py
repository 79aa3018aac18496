"""Parses unrecognised webhooks again; one that is still unrecognised becomes a dead letter.

The ingress keeps an unrecognised body as ``webhook.unrecognised.v1``; here the parser of its source
reads it again. Its events are published under the sender's id, with the time at which it was
received, so the inboxes drop what has been processed already. Otherwise it is a dead letter of
``webhooks.unrecognised`` (stage ``parse``): after a fix of the parser, or of the body, it is
replayed like any other.
"""

from collections.abc import Sequence

from events import Event, WebhookUnrecognised
from handlers.webhooks import SOURCES, Unrecognised
from infra.amqp.message import build_message
from infra.errors import Permanent
from infra.messaging import outbox
from infra.messaging.context import Context
from infra.resources import Resources
from schemas.trace_context import TRACE_ATTRIBUTES


class UnparsableWebhook(Permanent):
    """Neither the ingress nor a second parse recognises the webhook."""

    code = "UNRECOGNISED"
    stage = "parse"


async def parse_again(
    events: list[WebhookUnrecognised], _: Resources
) -> Sequence[list[Event] | UnparsableWebhook]:
    """Parse the kept bodies; returns the events of each, or why it has none."""
    return [parse_kept(event) for event in events]


async def publish_events(found: list[list[Event]], ctx: Context) -> Sequence[Event]:
    """Publish the events of webhooks that are recognised now; an event may have no time."""
    events = [event for events in found for event in events]
    await outbox.add(ctx.tx, [build_message(event, with_time=event.has_time) for event in events])
    ctx.after_commit(lambda: outbox.notify(ctx.resources.redis))
    return ()


def parse_kept(event: WebhookUnrecognised) -> list[Event] | UnparsableWebhook:
    """Parse a kept body by the parser of its source; returns its events, or why it has none."""
    kept = event.data
    source = SOURCES.get(kept.webhook)
    if source is None:
        return UnparsableWebhook(f"webhook: {kept.webhook} is an unknown source")
    if kept.body_bytes is not None:
        return UnparsableWebhook(
            f"{kept.reason}; only the beginning of its {kept.body_bytes} bytes is kept"
        )
    trace_attributes: dict[str, str] = {}
    for name in ("correlationid", *TRACE_ATTRIBUTES):
        if (value := getattr(event, name)) is not None:
            trace_attributes[name] = value
    try:
        return source.parse_events(
            kept.body.encode(), kept.delivery, received=event.time, **trace_attributes
        )
    except Unrecognised as error:
        return UnparsableWebhook(error.reason)
