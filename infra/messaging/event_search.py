"""Answers "where is my event?", for the command line and the API.

An event that is named by its id is looked for everywhere, and what it caused is followed down to
the platform's answer. Subject, correlation and campaign are looked up in the index of the event
log; what lags there is missing, and the answer says how far it goes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from events import sources
from events.envelope import now
from infra.amqp.message import fit
from infra.messaging import event_evidence
from infra.messaging.event_causes import EventTree, find_caused_events, nest
from infra.messaging.event_evidence import EventName, Evidence
from infra.messaging.event_outcomes import describe_event
from infra.messaging.queue_outcomes import Situation
from infra.messaging.routing_state import get_broken_paths
from infra.security.operation_id import has_operation_id_format
from infra.storage import event_facts, event_index
from infra.storage.event_index import LIST_END, IndexCursor, IndexedEvent
from infra.storage.operations import find_operations
from infra.storage.pause_registry import Pauses
from infra.storage.pauses import list_pauses
from schemas.events import EventField, EventIndexState, EventSearchResult, TrackedEvent
from schemas.types import INT64_MAX, PLATFORMS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_MICROS = 253_402_300_799_000_000  # since 1970: the end of the year 9999
MAX_DIGITS = 20  # of a number; a longer one is too large
CURSOR_RULE = "must be the next of an earlier answer"
MAX_ACCEPTANCES = 100  # of one id that are read
OWN_SOURCES = (
    sources.DEFAULT_SOURCE,
    sources.API_SOURCE,
    sources.AUTH_SOURCE,
    sources.CAMPAIGNS_SOURCE,
    sources.METRICS_SOURCE,
    sources.SYNC_SOURCE,
    sources.SEED_SOURCE,
    *map(sources.webhook_source, PLATFORMS),
)
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "subject": ("subject",),
    # The first event of a chain may have no correlation id: its own id is that of the others.
    "correlation": ("correlation_id", "event_id"),
    "campaign": ("subject", "campaign_id"),
}


@dataclass(frozen=True, slots=True)
class EventQuery:
    """What to look for: ``value`` of ``field``; of an id, ``source`` may be given too.

    ``sources`` are those that may be seen (None: all). A list has at most ``limit`` messages of the
    log, those before ``after``.
    """

    field: EventField
    value: str
    source: str | None = None
    sources: frozenset[str] | None = None
    after: IndexCursor = LIST_END
    limit: int = 20

    @property
    def allowed(self) -> frozenset[str] | None:
        """The sources that are looked for; None: any."""
        if self.source is None:
            return self.sources
        return frozenset({self.source}) if self.may_see(self.source) else frozenset()

    def may_see(self, source: str) -> bool:
        """Whether events of a source may be shown."""
        return self.sources is None or source in self.sources


async def search_events(tx: AsyncConnection, query: EventQuery) -> EventSearchResult:
    """Find events and what became of them; raises what SQLAlchemy raises."""
    complete_until, lag = await event_facts.read_index_state(tx)
    index = EventIndexState(complete_until=complete_until, lag_seconds=lag)
    following: str | None = None
    if query.field in ("id", "operation"):
        tree = await _find_named(tx, query)
    else:
        rows, following = await _list_rows(tx, query)
        tree = nest(rows)
        await event_evidence.gather(tx, tree.events)
    return EventSearchResult(
        events=await describe_events(tx, tree, query.sources), index=index, next=following
    )


async def _find_named(tx: AsyncConnection, query: EventQuery) -> EventTree:
    """Find the events of an id, of each source that has one, and what they caused."""
    tree = EventTree()
    allowed = query.allowed
    for row in await event_index.find_by_id(tx, query.value, allowed, MAX_ACCEPTANCES):
        tree.add(row)
    for name in await _list_names(tx, query):
        if allowed is None or name.source in allowed:
            tree.events.setdefault(name, Evidence())
    await event_evidence.gather(tx, tree.events)
    for name, evidence in list(tree.events.items()):
        # An operation may be known although nothing else is left of its event.
        is_command = name.source == sources.API_SOURCE and has_operation_id_format(name.id)
        if evidence.is_known or is_command:
            tree.roots.append(name)
        else:
            del tree.events[name]
    roots = set(tree.events)
    await find_caused_events(tx, tree, query.sources)
    caused = {name: found for name, found in tree.events.items() if name not in roots}
    await event_evidence.gather(tx, caused)
    return tree


async def _list_names(tx: AsyncConnection, query: EventQuery) -> list[EventName]:
    """List the names that an id may belong to: the inbox knows only a hash of both."""
    if query.source is not None:
        return [EventName(query.source, query.value)]
    if query.field == "operation":
        return [EventName(sources.API_SOURCE, query.value)]
    letters = await event_evidence.find_letters(tx, {query.value})
    outbox = await event_evidence.find_outbox_entries(tx, {fit(query.value)})
    names = {name for name, _ in letters}
    names |= {event_evidence.name_outbox_entry(entry) for _, entry in outbox}
    known = await event_facts.list_registered_sources(tx)
    names |= {EventName(source, query.value) for source in (*OWN_SOURCES, *known)}
    return sorted(name for name in names if name.id == query.value)


async def _list_rows(
    tx: AsyncConnection, query: EventQuery
) -> tuple[list[IndexedEvent], str | None]:
    """List the messages of the log with a subject, a correlation id or a campaign.

    Gives the place where the list goes on too, None at its end.
    """
    values, platform = {query.value}, None
    if query.field == "campaign" and (campaign_id := _parse_uuid(query.value)) is not None:
        values = {str(campaign_id)}
        platform = await event_facts.find_platform_id(tx, campaign_id)
        if platform is not None:
            values.add(platform[1])
    columns, after = COLUMNS[query.field], query.after
    rows = await event_index.list_events(tx, columns, values, query.allowed, after, query.limit)
    following = format_cursor(rows[-1]) if len(rows) == query.limit else None
    if platform is not None:  # two platforms may use the same id
        foreign = tuple(f".{other}" for other in PLATFORMS if other != platform[0])
        rows = [row for row in rows if not row.routing_key.endswith(foreign)]
    return rows, following


async def describe_events(
    tx: AsyncConnection, tree: EventTree, visible: frozenset[str] | None
) -> tuple[TrackedEvent, ...]:
    """Describe the events of a tree whose evidence was gathered.

    Who acted is told to those who may see all sources (``visible`` is None).
    """
    situation = Situation(
        now(),
        Pauses({row.target: row for row in await list_pauses(tx)}),
        await get_broken_paths(tx),
        shows_people=visible is None,
    )
    asked = {name.id for name in tree.events if name.source == sources.API_SOURCE}
    operations = {
        operation.id: operation
        for operation in await find_operations(tx, sorted(filter(has_operation_id_format, asked)))
    }

    def describe(name: EventName) -> TrackedEvent:
        return describe_event(
            name,
            tree.events[name],
            situation,
            operation=operations.get(name.id) if name.source == sources.API_SOURCE else None,
            caused=[describe(child) for child in tree.caused.get(name, ())],
            is_complete=name not in tree.cut,
        )

    events = map(describe, tree.roots)
    return tuple(event for event in events if event.queues or event.accepted or event.operation)


def format_cursor(event: IndexedEvent) -> str:
    """Write the place of a message in a list, as ``parse_cursor`` reads it."""
    return write_cursor(IndexCursor(event.logged_at, event.log_offset))


def write_cursor(place: IndexCursor) -> str:
    """Write a place in a list, as ``parse_cursor`` reads it."""
    micros = (place.logged_at - EPOCH) // timedelta(microseconds=1)
    return f"{micros}-{place.log_offset}"


def parse_cursor(text: str) -> IndexCursor:
    """Parse a place in a list; raises ``ValueError``."""
    micros, _, offset = text.partition("-")
    if not (micros.isascii() and micros.isdecimal() and offset.isascii() and offset.isdecimal()):
        raise ValueError(CURSOR_RULE)
    if int(micros[:MAX_DIGITS]) > MAX_MICROS or int(offset[:MAX_DIGITS]) > INT64_MAX:
        raise ValueError(CURSOR_RULE)
    return IndexCursor(EPOCH + timedelta(microseconds=int(micros)), int(offset))


def _parse_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
