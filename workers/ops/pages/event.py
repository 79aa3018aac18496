"""Event: What happened to this event, and what did it cause."""

from dataclasses import dataclass
from typing import Any

from events.envelope import now
from infra.errors import Outage
from infra.messaging.event_search import EventQuery, search_events
from infra.messaging.log_content import parse_content
from schemas.events import EventSearchResult, TrackedEvent
from workers.ops.event_views.answer import answer_event
from workers.ops.event_views.arrival import list_arrivals
from workers.ops.event_views.body import VIEWS, MessageBody, read_body
from workers.ops.event_views.journey import build_journey, sum_kinds
from workers.ops.event_views.links import build_path, event_path, parse_text, tracked_path
from workers.ops.event_views.tree import build_tree
from workers.ops.page import Page
from workers.ops.request import ConsoleRequest


@dataclass(frozen=True, slots=True)
class BodyPart:
    """The body, or the title and text of why it is not shown; ``is_unknown``: no answer."""

    body: MessageBody | None
    title: str = ""
    text: str = ""
    is_unknown: bool = False


async def show(request: ConsoleRequest) -> Page:
    """Show one event; several of one id as a list, and 404 for none."""
    event_id = parse_text(request.web.match_info["id"])
    source = parse_text(request.query.get("source", "")) or None
    query = EventQuery("id", event_id, source)
    found = await request.read("Events", search_events, query)
    if not found.events:
        context: dict[str, Any] = {"event_id": event_id, "source": source, "index": found.index}
        return Page("Event not found", "event_missing.html", context, 404)
    if len(found.events) > 1:
        links = [(event, tracked_path(event)) for event in found.events]
        context = {"event_id": event_id, "links": links}
        return Page("Events of one id", "event_choice.html", context)
    return await _show_one(request, found.events[0], found)


async def _show_one(request: ConsoleRequest, event: TrackedEvent, found: EventSearchResult) -> Page:
    at, view = now(), request.query.get("view", VIEWS[0])
    journey = build_journey(event, at)
    context: dict[str, Any] = {
        "event": event,
        "answer": answer_event(event, at),
        "journey": journey,
        "kinds": sum_kinds(journey.steps),
        "tree": build_tree(event, at),
        "arrivals": list_arrivals(event),
        "part": await _read_body(request, event),
        "view": view if view in VIEWS else VIEWS[0],
        "views": [(name, event_path(event.id, event.source, name)) for name in VIEWS],
        "links": _list_links(event),
        "index": found.index,
    }
    return Page(event.type or "Unreadable event", "event.html", context)


def _list_links(event: TrackedEvent) -> dict[str, str]:
    """List the paths of what belongs to the event, by what it is."""
    return {
        "subject": build_path("/events", q=event.subject) if event.subject else "",
        "correlation": build_path("/events", q=event.correlation_id),
        "cause": event_path(event.causation_id),
        "operation": build_path("/operations", id=event.operation.id) if event.operation else "",
        "source": build_path("/events", source=event.source),
        "type": build_path("/events", type=event.type),
    }


async def _read_body(request: ConsoleRequest, event: TrackedEvent) -> BodyPart:
    """Read the message from the event log, if its event is the one that is asked for."""
    offsets = [one.log_offset for one in event.accepted if one.log_offset is not None]
    if not offsets:
        return BodyPart(None, "Not in the event log", "What is not published has no body there.")
    try:
        entry = await request.state.log_reader.read(offsets[0])
    except Outage:
        text = "RabbitMQ does not answer, so the event log cannot be read right now."
        return BodyPart(None, "The body is not known", text, is_unknown=True)
    named = None if entry is None else (parse_content(entry.delivery) or {}).get("id")
    is_other = isinstance(named, str) and event.id is not None and parse_text(named) != event.id
    if entry is None or is_other:
        text = f"The event log has no offset {offsets[0]:,} of this event any longer."
        return BodyPart(None, "The body is gone", text)
    return BodyPart(read_body(entry, request.state.resources.settings.max_event_bytes))
