"""Events that upstream systems publish over HTTP, with a result for each."""

from aiohttp import web

from events.campaigns import CampaignRequest
from events.envelope import Event
from infra import metrics
from infra.amqp.message import Message
from infra.messaging.digest import content_digest
from infra.storage.api_keys import ApiKey
from infra.web.errors import HttpError, forbidden, unavailable
from infra.web.rate_limits import EVENTS
from infra.web.responses import success
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
from workers.ingress.http.parsing import read_body

TOO_MANY_REQUESTS = 429
ACCEPTED = {"status": "accepted", "error": None}  # the rest of an EventResult, built once


async def post_events(context: RequestContext) -> web.Response:
    """Publish events: 202, or 207 for a batch of which not all are accepted.

    In the metrics, a request that is rejected before its events are known counts as one rejected
    event.
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
    """Read events and check that the key may publish them; raises an ``HttpError``."""
    key = context.principal.api_key
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
    rejection = check_permission(event, key)
    if rejection is None and len(message.body) > settings.max_event_bytes:
        rejection = event_too_large(settings.max_event_bytes)
    if rejection is not None:
        raise rejection.to_error()
    return event, message


async def _publish_one(context: RequestContext, event: Event, message: Message) -> web.Response:
    try:
        await context.state.durable_publisher.publish(message)
    except HttpError:
        metrics.INGESTED["unavailable"].inc()
        raise
    metrics.INGESTED["accepted"].inc()
    return success(context.request_id, [{"id": event.id, **ACCEPTED}], status=202)


async def _publish_batch(context: RequestContext, batch: "_Batch") -> web.Response:
    durable = await context.state.durable_publisher.publish_all(batch.messages)
    if batch.messages and not any(durable):
        metrics.INGESTED["unavailable"].inc(len(batch.entries))
        raise unavailable("The events could not be stored.")
    results = []
    for result, index in batch.entries:
        holds = index is None or durable[index]
        results.append(result if holds else NOT_STORED.to_result(result.id))
        metrics.INGESTED[result.status if holds else "unavailable"].inc()
    all_accepted = all(result.status != "refused" for result in results)
    return success(context.request_id, results, status=202 if all_accepted else 207)


class _Batch:
    """Collects the results and the messages of the items of a batch.

    ``entries`` has for each item its result and the index of its message in ``messages``: the
    result holds if that message becomes durable. Without an index it holds in any case.
    """

    def __init__(self, context: RequestContext, key: ApiKey) -> None:
        self._context = context
        self._key = key
        self._seen: dict[tuple[str, str], tuple[Event, int]] = {}
        self.entries: list[tuple[EventResult, int | None]] = []
        self.messages: list[Message] = []

    def add(self, item: Item) -> None:
        if isinstance(item, tuple):
            event_id, rejection = item
            self.entries.append((rejection.to_result(event_id), None))
        elif (found := check_permission(item, self._key)) is not None:
            self.entries.append((found.to_result(item.id), None))
        elif (first := self._seen.get((item.source, item.id))) is not None:
            self.entries.append(self._add_repeated(item, *first))
        else:
            self.entries.append(self._add_message(item))

    def _add_repeated(
        self, item: Event, first: Event, index: int
    ) -> tuple[EventResult, int | None]:
        if content_digest(first) != content_digest(item):
            return ID_REUSED.to_result(item.id), None
        return EventResult(id=item.id, status="duplicate"), index

    def _add_message(self, item: Event) -> tuple[EventResult, int | None]:
        message = _build_message(self._context, self._key, item)
        limit = self._context.state.resources.settings.max_event_bytes
        if len(message.body) > limit:
            return event_too_large(limit).to_result(item.id), None
        self._seen[item.source, item.id] = item, len(self.messages)
        self.messages.append(message)
        return EventResult(id=item.id, status="accepted"), len(self.messages) - 1


def _build_message(context: RequestContext, key: ApiKey, event: Event) -> Message:
    """Build the message of an event, with the request's trace and the key's owner."""
    ids, update = context.ids, dict[str, str]()
    if event.correlationid is None:
        update["correlationid"] = ids.correlation_id
    if event.traceparent is None and ids.trace is not None:
        update |= ids.trace.attributes
    if isinstance(event, CampaignRequest):
        update["ownerid"] = str(key.owner_id)
    complete = event.model_copy(update=update) if update else event
    return context.build_message(complete, with_time=event.has_time)
