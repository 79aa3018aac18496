"""Lists events with what became of them, for people who look through them page by page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from infra.messaging import event_evidence
from infra.messaging.event_causes import EventTree
from infra.messaging.event_evidence import name_event
from infra.messaging.event_search import EventQuery, describe_events, search_events
from infra.storage import event_facts
from infra.storage.event_index import LIST_END, IndexCursor
from infra.storage.event_lists import EventFilter, list_event_rows
from schemas.events import EventIndexState, TrackedEvent


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, the newest first, and where the list goes on (None: at its end).

    ``searched_to`` is how far back it was searched (UTC) where that is not to the end.
    """

    events: Sequence[TrackedEvent]
    index: EventIndexState
    next: IndexCursor | None = None
    searched_to: datetime | None = None


async def list_events(
    tx: AsyncConnection, matching: EventFilter, after: IndexCursor, limit: int
) -> EventPage:
    """List events that match; raises what SQLAlchemy raises.

    A name is looked for outside of the index too: what lags there, or is in the outbox or dead.
    """
    complete_until, lag = await event_facts.read_index_state(tx)
    index = EventIndexState(complete_until=complete_until, lag_seconds=lag)
    found = await list_event_rows(tx, matching, after, limit)
    tree = EventTree()
    for row in reversed(found.rows):
        if tree.add(row):
            tree.roots.insert(0, name_event(row))
    await event_evidence.gather(tx, tree.events)
    events = await describe_events(tx, tree, None)
    if matching.name is not None and after == LIST_END:
        events = (*await _find_unlisted(tx, matching, events), *events)
    is_cut = found.next is not None and len(found.rows) < limit
    searched_to = found.next.logged_at if is_cut and found.next is not None else None
    return EventPage(events, index, found.next, searched_to)


async def _find_unlisted(
    tx: AsyncConnection, matching: EventFilter, listed: Sequence[TrackedEvent]
) -> list[TrackedEvent]:
    """Find the events of an id that the list lacks, since the index has no row of them."""
    query = EventQuery("id", matching.name or "", matching.source)
    named = (await search_events(tx, query)).events
    known = {(event.source, event.id) for event in listed}
    return [
        event
        for event in named
        if (event.source, event.id) not in known
        and not any(one.log_offset is not None for one in event.accepted)
        and (matching.type is None or event.type == matching.type)
    ]
