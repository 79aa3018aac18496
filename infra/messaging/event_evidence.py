"""Gathers what is known of events: from inbox, waiting events, dead letters and outbox.

An event is named by source and id, as in the inbox. All names are asked for at a time.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.amqp import topology
from infra.amqp.message import fit
from infra.messaging.content_mode import attributes_of
from infra.messaging.decoder import hash_names
from infra.messaging.replay import build_replay_id, parse_replayed_id
from infra.storage import event_facts
from infra.storage.event_index import IndexedEvent
from infra.storage.waiting_events import WaitingEvent, find_waiting_events


class EventName(NamedTuple):
    """What identifies an event; without a source it is the id of a message that is no event."""

    source: str
    id: str


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A message that is still to be published; ``queue`` where it is for one queue alone."""

    written_at: datetime
    queue: str | None
    routing_key: str
    attributes: Mapping[str, Any]
    headers: Mapping[str, Any]
    parked_reason: str | None


@dataclass(slots=True)
class Evidence:
    """What is known of one event."""

    logged: list[IndexedEvent] = field(default_factory=list)
    handled: dict[str, datetime] = field(default_factory=dict)  # by queue
    waiting: dict[str, WaitingEvent] = field(default_factory=dict)  # by queue
    skipped: dict[str, datetime] = field(default_factory=dict)  # by queue
    letters: list[RowMapping] = field(default_factory=list)  # the oldest first
    outbox: list[OutboxEntry] = field(default_factory=list)

    @property
    def is_known(self) -> bool:
        """Whether anything is known of the event."""
        return any((self.logged, self.handled, self.waiting, self.letters, self.outbox))


Evidences = dict[EventName, Evidence]


def name_event(event: IndexedEvent) -> EventName:
    """Name an event of the index."""
    return EventName(event.source, event.event_id or "")


async def gather(tx: AsyncConnection, found: Evidences) -> None:
    """Add to events, whose entries in the log are known, what the other tables say of them."""
    keys = {hash_names(*name): name for name in found}
    if not keys:
        return
    for mark in await event_facts.find_marks(tx, topology.WORK_QUEUE_NAMES, keys):
        found[keys[mark.key]].handled[mark.consumer] = mark.handled_at
    for queue, key, skipped_at in await event_facts.find_skipped(tx, keys):
        found[keys[key]].skipped[queue] = skipped_at
    for waiting in await find_waiting_events(tx, keys):
        found[keys[waiting.key]].waiting[waiting.queue] = waiting
    replays = await _add_letters(tx, found)
    messages = {fit(name.id) for name in found} | replays.keys()
    for message_id, entry in await find_outbox_entries(tx, messages):
        name = replays.get(message_id) or name_outbox_entry(entry)
        if name in found:
            found[name].outbox.append(entry)


async def _add_letters(tx: AsyncConnection, found: Evidences) -> Mapping[str, EventName]:
    """Add dead letters, also those of replays; gives the names by the message ids of replays.

    A replay of what has no event id has a message id of its own, and so has its next dead letter.
    """
    replays: dict[str, EventName] = {}
    ids: Collection[str] = {name.id for name in found}
    while ids:
        later: dict[str, EventName] = {}
        for own, letter in await find_letters(tx, ids):
            is_replay = parse_replayed_id(own.id, letter["replays"]) is not None
            name = replays.get(own.id, own) if is_replay else own
            if name not in found:
                continue
            found[name].letters.append(letter)
            if letter["state"] == "replayed":
                later[build_replay_id(letter)] = name
        replays |= later
        ids = later.keys()
    return replays


async def find_letters(
    tx: AsyncConnection, ids: Collection[str]
) -> list[tuple[EventName, RowMapping]]:
    """Find the dead letters of events with these ids, each with the name of its event."""
    letters = await event_facts.find_event_dead_letters(tx, ids)
    return [
        (EventName(row["source"] or "", row["event_id"] or row["message_id"] or ""), row)
        for row in letters
    ]


async def find_outbox_entries(
    tx: AsyncConnection, message_ids: Collection[str]
) -> list[tuple[str, OutboxEntry]]:
    """Find messages in the outbox by their ids."""
    rows = await event_facts.find_outbox_rows(tx, message_ids)
    return [(row.message_id, _read_entry(row)) for row in rows]


def name_outbox_entry(entry: OutboxEntry) -> EventName:
    """Name the event of a message in the outbox."""
    source, event_id = entry.attributes.get("source"), entry.attributes.get("id")
    return EventName(str(source or ""), str(event_id or ""))


def _read_entry(row: Any) -> OutboxEntry:  # noqa: ANN401 - a row of SQLAlchemy
    headers = row.properties.get("headers") or {}
    return OutboxEntry(
        written_at=row.created_at,
        queue=row.routing_key if row.exchange == topology.RETURN_EXCHANGE else None,
        routing_key=row.routing_key,
        attributes=attributes_of(headers) or _parse(row.body),
        headers=headers,
        parked_reason=row.parked_reason,
    )


def _parse(body: bytes) -> Mapping[str, Any]:
    try:
        found = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
