"""Reads what the page of webhook sources shows: counts of a day, groups, one letter.

A group is a fingerprint of the queue ``webhooks.unrecognised``: a source and a reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers.webhooks.dry_run import GroupReading, Reading, read_again, read_group_again
from infra.messaging.headers import DOOR
from infra.messaging.replay import read_content
from infra.storage.dead_letter_groups import HOURS, DeadLetterGroup, list_groups, list_hours
from infra.storage.dead_letters import DeadLetterFilter, list_next_dead_letters
from infra.storage.unrecognised_webhooks import QUEUE
from infra.storage.webhook_counts import WebhookCount, list_counts
from workers.ops.pages.letter_filter import LetterPosition

MAX_GROUPS = 20  # on the page, the newest failure first
# What is read again for a page, over all groups: it takes a part of a second.
MAX_READ, MAX_READ_BYTES = 2000, 8 * 1024 * 1024  # letters, bytes of their bodies


@dataclass(frozen=True, slots=True)
class WebhookQuery:
    """What an address asks for: a group, and a place in it."""

    group: str
    after: LetterPosition | None


@dataclass(frozen=True, slots=True)
class ShownLetter:
    """One unrecognised webhook: its head, what it says now, and the slot of its secret.

    ``place`` is where the next one is found after; None for the last of its group.
    """

    head: RowMapping
    reading: Reading
    slot: str
    place: LetterPosition | None


@dataclass(frozen=True, slots=True)
class WebhookLists:
    """What the page reads; ``hours`` has the letters of each group and hour, oldest first."""

    counts: Sequence[WebhookCount]
    groups: Sequence[DeadLetterGroup]
    has_more_groups: bool
    hours: Mapping[str, Sequence[int]]
    chosen: DeadLetterGroup | None
    letter: ShownLetter | None


async def read_lists(
    tx: AsyncConnection, query: WebhookQuery, max_event_bytes: int, moment: datetime
) -> WebhookLists:
    """Read what the page shows at ``moment`` (UTC)."""
    counts = await list_counts(tx, moment - timedelta(hours=HOURS))
    matching = DeadLetterFilter(state="open", queue=QUEUE)
    found = await list_groups(tx, matching, limit=MAX_GROUPS + 1)
    groups = found[:MAX_GROUPS]
    chosen = next((one for one in found if one.fingerprint == query.group), None)
    chosen = chosen or next(iter(groups), None)
    letter = None if chosen is None else await _read_letter(tx, chosen, query, max_event_bytes)
    hours = await list_hours(tx, [group.fingerprint for group in groups], moment)
    return WebhookLists(counts, groups, len(found) > MAX_GROUPS, hours, chosen, letter)


async def read_groups_again(
    tx: AsyncConnection, groups: Sequence[DeadLetterGroup], max_event_bytes: int
) -> dict[str, GroupReading]:
    """Read groups again, each its part of the limits; by fingerprint."""
    number = max(len(groups), 1)
    return {
        group.fingerprint: await read_group_again(
            tx,
            group.fingerprint,
            max_event_bytes,
            max_letters=MAX_READ // number,
            max_total_bytes=MAX_READ_BYTES // number,
        )
        for group in groups
    }


async def _read_letter(
    tx: AsyncConnection, group: DeadLetterGroup, query: WebhookQuery, max_event_bytes: int
) -> ShownLetter | None:
    matching = DeadLetterFilter(state="open", queue=QUEUE, fingerprint=group.fingerprint)
    after = query.after if group.fingerprint == query.group else None
    heads = await list_next_dead_letters(tx, matching, after=after, limit=2)
    if not heads:
        return None
    head = heads[0]
    content = await read_content(tx, head)
    reading = read_again(content, max_event_bytes)
    _, _, slot = content.headers.get(DOOR, "").rpartition(" slot=")
    place = (head["first_failed_at"], head["id"]) if len(heads) > 1 else None
    return ShownLetter(head, reading, slot if slot.isdecimal() else "", place)
