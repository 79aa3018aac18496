"""Finds what events caused, as a tree: by the id and the source of the cause.

Anybody may write ``causationid`` into an event. Where only some sources may be seen, a link counts
if Adrelay itself has published it (the index keeps the source of the cause of no others).
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from infra.messaging.event_evidence import EventName, Evidence, Evidences, name_event
from infra.storage.event_index import IndexedEvent, find_caused
from schemas.source_namespace import is_reserved_source

MAX_DEPTH = 12  # events that cause one another
MAX_EVENTS = 200  # of a tree


@dataclass(slots=True)
class EventTree:
    """Events with what each of them caused; ``cut`` are those of which not all is there."""

    events: Evidences = field(default_factory=dict)
    roots: list[EventName] = field(default_factory=list)
    caused: dict[EventName, list[EventName]] = field(default_factory=dict)
    cut: set[EventName] = field(default_factory=set)

    def add(self, event: IndexedEvent) -> bool:
        """Add a message of the log; returns whether its event is new."""
        name = name_event(event)
        is_new = name not in self.events
        self.events.setdefault(name, Evidence()).logged.append(event)
        return is_new


async def find_caused_events(
    tx: AsyncConnection, tree: EventTree, sources: Collection[str] | None
) -> None:
    """Add to the roots of a tree what they caused, level by level, within the limits above.

    ``sources`` are those that may be seen (None: all), besides Adrelay's own.
    """
    level = list(tree.roots)
    for _ in range(MAX_DEPTH):
        parents = {name for name in level if name.id}
        if not parents:
            return
        room = MAX_EVENTS - len(tree.events)
        rows = await find_caused(tx, {name.id for name in parents}, room + 1)
        if len(rows) > room:
            tree.cut |= parents
        level = _add_level(tree, parents, rows[: max(0, room)], sources)
    tree.cut |= set(level)


def nest(rows: Iterable[IndexedEvent]) -> EventTree:
    """Make a tree of the messages of a list; what was logged first is a cause of what follows."""
    tree = EventTree()
    for row in sorted(rows, key=lambda row: (row.logged_at, row.log_offset)):
        parent = next((name for name in tree.events if _is_cause(name, row)), None)
        if tree.add(row):
            name = name_event(row)
            (tree.roots if parent is None else tree.caused.setdefault(parent, [])).append(name)
    return tree


def _add_level(
    tree: EventTree,
    parents: Collection[EventName],
    rows: Sequence[IndexedEvent],
    sources: Collection[str] | None,
) -> list[EventName]:
    added: list[EventName] = []
    for row in rows:
        parent = next((name for name in parents if _is_cause(name, row)), None)
        if parent is None or not _may_show(parent, row, sources):
            continue
        name = name_event(row)
        if name in tree.events and name not in added:
            continue  # a root, or of a level above
        if tree.add(row):
            tree.caused.setdefault(parent, []).append(name)
            added.append(name)
    return added


def _is_cause(name: EventName, row: IndexedEvent) -> bool:
    return row.causation_id == name.id and row.causation_source in (None, name.source)


def _may_show(parent: EventName, row: IndexedEvent, sources: Collection[str] | None) -> bool:
    if sources is None:
        return True
    is_certain = row.causation_source == parent.source
    return is_certain and (row.source in sources or is_reserved_source(row.source))
