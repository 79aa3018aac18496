"""Sorts entries of the event log for a replay into one queue, and sends them there.

A replayed event keeps its id and its first publisher, and reaches that one queue
(``infra.messaging.republish``). The inbox decides what is new. What is an open or discarded dead
letter is left out, because a person decides about it, and so is what cannot be decoded.

To handle events again their inbox marks are deleted, in the transaction that writes them to the
outbox and moves the position on: all of it happens, or nothing. Marks that are younger than the
replay stay, so an event that is in the log twice is handled again once.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncConnection

from events import EVENT_TYPES
from events.envelope import now
from infra.amqp.message import Message
from infra.amqp.publisher import Publisher
from infra.backoff import Backoff
from infra.errors import Outage, Permanent, PublishFailed, PublishUnknown
from infra.messaging import inbox
from infra.messaging.decoder import DecodedDelivery, decode_delivery
from infra.messaging.destination_queues import find_destination_queues
from infra.messaging.event_log import LogEntry
from infra.messaging.log_filter import LogFilter
from infra.messaging.ordering_key import COMMAND_QUEUE
from infra.messaging.republish import requeue_message
from infra.settings import Settings
from infra.storage.log_replays import find_dead, find_handled_since
from infra.storage.newer_commands import describe_newer_change, find_newer_change

PUBLISH_SECONDS = 60.0  # for which a batch that is not confirmed is published again
MAX_OBJECTIONS = 20  # that are kept with their reasons


class ReplayFinding(StrEnum):
    """What a replay finds an event to be."""

    NEW = "new"  # the queue has not handled it
    DUPLICATE = "duplicates"  # the queue has handled it
    DONE = "done_already"  # this replay has had it handled again
    DEAD_LETTER = "dead_letters"
    REUSED_ID = "reused_ids"  # the queue has handled another event with its id
    UNREADABLE = "unreadable"
    REFUSED = "refused"  # too old, or a newer change of its campaign has taken effect


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What to replay into which queue; ``handle_again`` what it has handled too.

    ``force``: also what the inbox may have forgotten, and over newer changes of a campaign.
    """

    queue: str
    selected: LogFilter
    handle_again: bool = False
    force: bool = False


@dataclass(slots=True)
class ReplayCounts:
    """What a replay has found so far, and the reasons of the first refusals."""

    found: Counter[ReplayFinding] = field(default_factory=Counter)
    sent: int = 0
    objections: list[str] = field(default_factory=list)

    def refuse(self, offset: int, reason: str) -> None:
        """Count an event that is left out, and keep why."""
        self.found[ReplayFinding.REFUSED] += 1
        if len(self.objections) < MAX_OBJECTIONS:
            self.objections.append(f"offset {offset}: {reason}")


async def select_entries(
    tx: AsyncConnection,
    entries: Sequence[LogEntry],
    request: ReplayRequest,
    settings: Settings,
    began_at: datetime,
    counts: ReplayCounts,
) -> list[DecodedDelivery]:
    """Give what a replay that began at an aware time sends of a batch, in its order."""
    wanted: dict[int, tuple[LogEntry, DecodedDelivery]] = {}
    for entry in entries:
        delivery = entry.delivery
        is_wanted = request.queue in find_destination_queues(delivery)
        if not is_wanted or not request.selected.matches(entry):
            continue
        try:
            decoded = decode_delivery(delivery, EVENT_TYPES, settings.max_event_bytes)
        except Permanent:
            counts.found[ReplayFinding.UNREADABLE] += 1
        else:
            wanted[id(decoded)] = entry, decoded
    found = await _sort(tx, [decoded for _, decoded in wanted.values()], request, began_at)
    chosen = []
    for name, (entry, decoded) in wanted.items():
        finding = found[name]
        takes_effect = finding is ReplayFinding.NEW or request.handle_again
        if finding in (ReplayFinding.NEW, ReplayFinding.DUPLICATE):
            if takes_effect and not request.force:
                reason = await _find_objection(tx, entry, decoded, request, settings)
                if reason is not None:
                    counts.refuse(entry.offset, reason)
                    continue
            chosen.append(decoded)
        counts.found[finding] += 1
    return chosen


async def _sort(
    tx: AsyncConnection,
    decoded: Sequence[DecodedDelivery],
    request: ReplayRequest,
    began_at: datetime,
) -> dict[int, ReplayFinding]:
    claim = await inbox.unseen(tx, request.queue, decoded)
    found = {id(item): ReplayFinding.NEW for item in claim.fresh}
    found |= {id(item): ReplayFinding.DUPLICATE for item in claim.duplicates}
    found |= {id(item): ReplayFinding.REUSED_ID for item in claim.reused}
    named = [(item.key, item.event.source, item.event.id) for item in decoded]
    dead = await find_dead(tx, request.queue, named)
    done: set[object] = set()
    if request.handle_again:
        keys = [item.key for item in claim.duplicates]
        done |= await find_handled_since(tx, request.queue, keys, began_at)
    for item in decoded:
        if item.key in dead:
            found[id(item)] = ReplayFinding.DEAD_LETTER
        elif item.key in done:
            found[id(item)] = ReplayFinding.DONE
    return found


async def _find_objection(
    tx: AsyncConnection,
    entry: LogEntry,
    decoded: DecodedDelivery,
    request: ReplayRequest,
    settings: Settings,
) -> str | None:
    """Tell why an event must not take effect now without ``force``, or None."""
    at = entry.published_at or decoded.event.time
    if at < now() - timedelta(days=settings.inbox_days):
        return "it is older than the inbox remembers: it might take effect twice (--force)"
    if request.queue == COMMAND_QUEUE:
        change = await find_newer_change(tx, decoded.event, at)
        if change is not None:
            return f"{describe_newer_change(change)} (--force)"
    return None


def build_messages(chosen: Sequence[DecodedDelivery], queue: str) -> list[Message]:
    """Build the messages that bring events back to one queue."""
    at = now()
    return [requeue_message(item.delivery, queue, at) for item in chosen]


async def publish_confirmed(publisher: Publisher, messages: Sequence[Message]) -> None:
    """Publish until the broker has confirmed everything; what is unknown is published again.

    Raises ``PublishFailed`` for what no queue takes, and after ``PUBLISH_SECONDS``.
    """
    until, backoff = time.monotonic() + PUBLISH_SECONDS, Backoff(first=0.2, longest=5)
    pending = list(messages)
    while pending:
        verdicts = await publisher.publish_all(pending)
        for verdict in verdicts:
            if isinstance(verdict, PublishFailed) and not isinstance(verdict, Outage):
                raise verdict
        pending = [
            message
            for message, verdict in zip(pending, verdicts, strict=True)
            if verdict is not None
        ]
        if pending and time.monotonic() > until:
            raise PublishUnknown("the broker does not confirm what is sent")
        if pending:
            await asyncio.sleep(backoff.step())
