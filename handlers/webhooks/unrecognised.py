"""Webhooks that meant nothing when they came: read again, and dead letters while they mean nothing.

The ingress keeps such a body as ``webhook.unrecognised.v1``; here its source's parser reads it
once more. What it means now is published under the sender's id, with the time at which it
came, so the inboxes drop what took effect already. What means nothing still is a dead letter
of ``webhooks.unrecognised`` (stage ``parse``): after a fix in the parser, or in the body,
it is replayed like any other.
"""

from collections.abc import Sequence

from events import Event, WebhookUnrecognised
from handlers.webhooks import SOURCES, Unrecognised
from infra.amqp.message import build_message
from infra.errors import Permanent
from infra.messaging import outbox
from infra.messaging.context import Context
from infra.resources import Resources


class UnparsableWebhook(Permanent):
    """Neither the ingress nor a look at it now has found out what a webhook means."""

    code = "UNRECOGNISED"
    stage = "parse"


async def parse_again(
    events: list[WebhookUnrecognised], _: Resources
) -> Sequence[list[Event] | UnparsableWebhook]:
    """Read the kept bodies; gives for each the events that it means, or why it means none."""
    return [_events_of(event) for event in events]


async def publish_events(found: list[list[Event]], ctx: Context) -> Sequence[Event]:
    """Publish what webhooks mean that are understood by now, without a time where it has none."""
    events = [event for events in found for event in events]
    await outbox.add(ctx.tx, [build_message(event, with_time=event.has_time) for event in events])
    ctx.after_commit(lambda: outbox.notify(ctx.resources.redis))
    return ()


def _events_of(event: WebhookUnrecognised) -> list[Event] | UnparsableWebhook:
    kept = event.data
    source = SOURCES.get(kept.webhook)
    if source is None:
        return UnparsableWebhook(f"webhook: {kept.webhook} is no source that we know")
    if kept.body_bytes is not None:
        return UnparsableWebhook(
            f"{kept.reason}; only the beginning of its {kept.body_bytes} bytes is kept"
        )
    trace_attributes: dict[str, str] = {}
    for name in ("correlationid", "traceparent"):
        if (mark := getattr(event, name)) is not None:
            trace_attributes[name] = mark
    try:
        return source.parse_events(
            kept.body.encode(), kept.delivery, received=event.time, **trace_attributes
        )
    except Unrecognised as refusal:
        return UnparsableWebhook(refusal.reason)
