"""Events that upstream systems publish over HTTP, with a verdict for each."""

from aiohttp import web

from events.campaigns import CampaignRequest
from events.envelope import Event
from infra import metrics
from infra.amqp.message import Message, build_message
from infra.messaging.digest import content_digest
from infra.storage.api_keys import ApiKey
from workers.ingress.api.cloudevents import (
    ContentMode,
    Item,
    parse_mode,
    read_batch,
    read_binary,
    read_structured,
)
from workers.ingress.api.event_results import (
    ID_REUSED,
    NOT_STORED,
    EventResult,
    check_permission,
    event_too_large,
)
from workers.ingress.context import RequestContext
from workers.ingress.http.errors import HttpError, forbidden, unavailable
from workers.ingress.http.parsing import read_body
from workers.ingress.http.rate_limits import EVENTS
from workers.ingress.http.responses import success

TOO_MANY_REQUESTS = 429


async def post_events(context: RequestContext) -> web.Response:
    """Accept events: 202, or 207 for a batch of which not all are accepted.

    What is refused as a whole, before its events are known, counts as one that is refused.
    """
    try:
        found = await _read(context)
    except HttpError as refusal:
        metrics.INGESTED["limited" if refusal.status == TOO_MANY_REQUESTS else "refused"].inc()
        raise
    if isinstance(found, _Batch):
        return await _publish_batch(context, found)
    return await _publish_one(context, *found)


async def _read(context: RequestContext) -> "_Batch | tuple[Event, Message]":
    """Read what may be published; raises an ``HttpError``."""
    key = context.principal.key
    if key is None:
        raise forbidden("Events are published with an API key.")
    mode = parse_mode(context.request)
    body = await read_body(context.request)
    context.state.rate_limiter.take(EVENTS, key.id.hex, len(body))
    settings = context.state.resources.settings
    if mode is ContentMode.BATCH:
        batch = _Batch(context, key)
        for item in read_batch(body, settings.max_batch_events):
            batch.add(item)
        return batch
    if mode is ContentMode.STRUCTURED:
        event = read_structured(body)
    else:
        event = read_binary(context.request.headers, body)
    message = _build_message(context, key, event)
    reason = check_permission(event, key)
    if reason is None and len(message.body) > settings.max_event_bytes:
        reason = event_too_large(settings.max_event_bytes)
    if reason is not None:
        raise reason.to_error()
    return event, message


async def _publish_one(context: RequestContext, event: Event, message: Message) -> web.Response:
    try:
        await context.state.durable_publisher.publish(message)
    except HttpError:
        metrics.INGESTED["unavailable"].inc()
        raise
    metrics.INGESTED["accepted"].inc()
    return success(context.request_id, [EventResult(id=event.id, status="accepted")], status=202)


async def _publish_batch(context: RequestContext, batch: "_Batch") -> web.Response:
    stored = await context.state.durable_publisher.publish_all(batch.messages)
    if batch.messages and not any(stored):
        metrics.INGESTED["unavailable"].inc(len(batch.entries))
        raise unavailable("The events could not be stored.")
    verdicts = []
    for verdict, place in batch.entries:
        kept = place is None or stored[place]
        verdicts.append(verdict if kept else NOT_STORED.to_result(verdict.id))
        metrics.INGESTED[verdict.status if kept else "unavailable"].inc()
    fine = all(verdict.status != "refused" for verdict in verdicts)
    return success(context.request_id, verdicts, status=202 if fine else 207)


class _Batch:
    """Sorts the items of a batch.

    ``entries`` has for each item a verdict, which counts if the message at that place of
    ``messages`` becomes durable (None: it counts as it is).
    """

    def __init__(self, context: RequestContext, key: ApiKey) -> None:
        self._context = context
        self._key = key
        self._seen: dict[tuple[str, str], tuple[Event, int]] = {}
        self.entries: list[tuple[EventResult, int | None]] = []
        self.messages: list[Message] = []

    def add(self, item: Item) -> None:
        if isinstance(item, tuple):
            event_id, reason = item
            self.entries.append((reason.to_result(event_id), None))
        elif (found := check_permission(item, self._key)) is not None:
            self.entries.append((found.to_result(item.id), None))
        elif (twin := self._seen.get((item.source, item.id))) is not None:
            self.entries.append(self._add_repeated(item, *twin))
        else:
            self.entries.append(self._add_message(item))

    def _add_repeated(
        self, item: Event, first: Event, place: int
    ) -> tuple[EventResult, int | None]:
        if content_digest(first) != content_digest(item):
            return ID_REUSED.to_result(item.id), None
        return EventResult(id=item.id, status="duplicate"), place

    def _add_message(self, item: Event) -> tuple[EventResult, int | None]:
        message = _build_message(self._context, self._key, item)
        limit = self._context.state.resources.settings.max_event_bytes
        if len(message.body) > limit:
            return event_too_large(limit).to_result(item.id), None
        self._seen[item.source, item.id] = item, len(self.messages)
        self.messages.append(message)
        return EventResult(id=item.id, status="accepted"), len(self.messages) - 1


def _build_message(context: RequestContext, key: ApiKey, event: Event) -> Message:
    """Write an event as its sender meant it, in the name of the key's owner."""
    trace_attributes = context.ids.trace_attributes
    update = {name: mark for name, mark in trace_attributes.items() if getattr(event, name) is None}
    if isinstance(event, CampaignRequest):
        update["ownerid"] = str(key.owner_id)
    told = event.model_copy(update=update) if update else event
    return build_message(told, with_time=event.has_time)
