"""Find: Which page has this id."""

from collections.abc import Sequence
from dataclasses import dataclass

from infra.messaging.event_listing import list_events
from infra.messaging.event_search import EventQuery, search_events
from infra.security.operation_id import parse_operation_id
from infra.storage.dead_letter_ids import parse_id_prefix
from infra.storage.dead_letters import find_dead_letters
from infra.storage.event_index import LIST_END
from infra.storage.event_lists import EventFilter
from workers.ops.event_views.links import build_path, parse_text, tracked_path
from workers.ops.page import Page, SeeOther
from workers.ops.request import ConsoleRequest

MIN_PREFIX = 4  # characters of the id of a dead letter
MAX_LETTERS = 10


@dataclass(frozen=True, slots=True)
class Match:
    """A page that has the id: what it is, its name, and what is said of it."""

    path: str
    kind: str
    name: str
    detail: str = ""


async def show(request: ConsoleRequest) -> Page | SeeOther:
    """Lead to the one page of an id, list several, and say what was searched for none (404)."""
    name = parse_text(request.query.get("q", ""))
    if not name:
        return SeeOther("/events")
    matches = [*await _find_events(request, name), *await _find_letters(request, name)]
    if not matches:
        matches = [*_find_operation(request, name), *await _find_related(request, name)]
    if len(matches) == 1:
        return SeeOther(matches[0].path)
    title = "Several pages match" if matches else "Not found"
    context = {"name": name, "matches": matches}
    return Page(title, "find.html", context, 200 if matches else 404)


async def _find_events(request: ConsoleRequest, name: str) -> Sequence[Match]:
    found = await request.read("Events", search_events, EventQuery("id", name))
    return [
        Match(path, "Event", event.type or "unreadable", event.source)
        for event in found.events
        if (path := tracked_path(event))
    ]


async def _find_letters(request: ConsoleRequest, name: str) -> Sequence[Match]:
    """Find dead letters by their id or its beginning."""
    prefix = parse_id_prefix(name) if len(name) >= MIN_PREFIX else None
    if prefix is None:
        return []
    rows = await request.read("Dead letters", find_dead_letters, *prefix, limit=MAX_LETTERS)
    return [
        Match(f"/dead-letters/{row['id']}", "Dead letter", str(row["id"]), str(row["queue"]))
        for row in rows
    ]


def _find_operation(request: ConsoleRequest, name: str) -> Sequence[Match]:
    """Find an operation that no worker has written yet: its id proves that it was issued."""
    if parse_operation_id(request.state.operation_key, name) is None:
        return []
    return [Match(build_path("/operations", id=name), "Operation", name)]


async def _find_related(request: ConsoleRequest, name: str) -> Sequence[Match]:
    """Find events with this subject, correlation id or campaign."""
    found = await request.read("Events", list_events, EventFilter(name=name), LIST_END, 1)
    path = build_path("/events", q=name)
    return [Match(path, "Events", name)] if found.events else []
