"""Events: Where is my event."""

from dataclasses import dataclass
from datetime import datetime

from events import EVENT_TYPES
from events.envelope import now
from infra.messaging.event_listing import EventPage, list_events
from infra.messaging.event_search import parse_cursor, write_cursor
from infra.storage.event_index import LIST_END, IndexCursor
from infra.storage.event_lists import EventFilter
from schemas.events import TrackedEvent
from workers.ops.event_views.answer import EventAnswer, answer_event
from workers.ops.event_views.links import tracked_path
from workers.ops.event_views.list_query import ListQuery, read_list_query
from workers.ops.event_views.outcome import Told, describe_outcome, measure_seconds
from workers.ops.page import Page
from workers.ops.request import ConsoleRequest

PER_PAGE = 50
TEXTS, TIMES = ("q", "type", "source"), ("from", "to")
UNPROCESSABLE = 422


@dataclass(frozen=True, slots=True)
class EventRow:
    """A line of the list: when (UTC), what became of the event in each queue, how long it took."""

    event: TrackedEvent
    path: str
    at: datetime | None
    queues: list[tuple[str, Told]]
    answer: EventAnswer
    seconds: float | None


async def show(request: ConsoleRequest) -> Page:
    """Show the form and the events that match it; 422 with what is wrong in the form."""
    asked = read_list_query("/events", request.query, TEXTS, TIMES)
    context = {"asked": asked, "types": sorted(EVENT_TYPES), "rows": [], "found": None}
    if asked.errors:
        return Page("Events", "events.html", context, UNPROCESSABLE)
    matching = EventFilter(
        name=asked.text("q"),
        type=asked.text("type"),
        source=asked.text("source"),
        since=asked.time("from"),
        until=asked.time("to"),
    )
    found = await request.read("Events", list_events, matching, _read_cursor(request), PER_PAGE)
    at = now()
    context |= {
        "found": found,
        "rows": [_build_row(event, at) for event in found.events],
        "next": _link_next(asked, found),
        "first": asked.link() if request.query.get("after") else "",
    }
    return Page("Events", "events.html", context)


def _read_cursor(request: ConsoleRequest) -> IndexCursor:
    """Read where the list goes on; what is no cursor begins it."""
    try:
        return parse_cursor(request.query.get("after", ""))
    except ValueError:
        return LIST_END


def _link_next(asked: ListQuery, found: EventPage) -> str:
    return "" if found.next is None else asked.link(after=write_cursor(found.next))


def _build_row(event: TrackedEvent, at: datetime) -> EventRow:
    times = [one.at for one in event.accepted] + [one.at for one in event.queues if one.at]
    return EventRow(
        event,
        tracked_path(event),
        times[0] if times else None,
        [(one.queue, describe_outcome(one, at)) for one in event.queues],
        answer_event(event, at),
        measure_seconds(event),
    )
