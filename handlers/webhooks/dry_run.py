"""Reads unrecognised webhooks again by the parser of their source, without effect.

    dead letter -> webhook.unrecognised.v1 -> its body -> the events that a replay would publish

It is what a replay does, before anything is published. A group is read in pages, so that a process
that serves requests stops for a few milliseconds at a time.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from events import Event, WebhookUnrecognised
from handlers.webhooks.unrecognised import UnparsableWebhook, parse_kept
from infra.errors import Permanent
from infra.messaging.dead_letter_content import DeadLetterContent
from infra.messaging.replay import decode_letter
from infra.storage.unrecognised_webhooks import QUEUE, LetterPlace, read_next

PAGE = 50  # letters that are read at a time


@dataclass(frozen=True, slots=True)
class Reading:
    """What a letter says now: the kept webhook, and its events or why it has none.

    ``kept`` is None where the letter itself cannot be decoded.
    """

    kept: WebhookUnrecognised | None
    events: tuple[Event, ...]
    reason: str = ""

    @property
    def is_recognised(self) -> bool:
        """Whether a replay would publish all of it."""
        return bool(self.events)


@dataclass(frozen=True, slots=True)
class GroupReading:
    """What a group says now: letters by the event type that they would become, and the others.

    ``is_whole`` is false where a limit ended it before the last letter.
    """

    accepted: int
    unrecognised: int
    types: Mapping[str, int]
    is_whole: bool

    @property
    def letters(self) -> int:
        """The letters that were read."""
        return self.accepted + self.unrecognised


def read_again(content: DeadLetterContent, max_bytes: int) -> Reading:
    """Read a letter again; ``max_bytes`` is the largest event. Never raises for its content."""
    try:
        event: Any = decode_letter(QUEUE, content, max_bytes).event
    except Permanent as error:
        return Reading(None, (), error.reason)
    found = parse_kept(event)
    if isinstance(found, UnparsableWebhook):
        return Reading(event, (), found.reason)
    unclear = next((one for one in found if isinstance(one, WebhookUnrecognised)), None)
    if unclear is not None:
        return Reading(event, (), unclear.data.reason)
    return Reading(event, tuple(found))


async def read_group_again(
    tx: AsyncConnection,
    fingerprint: str,
    max_bytes: int,
    *,
    max_letters: int,
    max_total_bytes: int,
) -> GroupReading:
    """Read the open letters of a group again, the oldest first, up to both limits."""
    types: Counter[str] = Counter()
    accepted = unrecognised = total = 0
    after: LetterPlace | None = None
    is_whole = False
    while accepted + unrecognised < max_letters and total < max_total_bytes:
        rows = await read_next(tx, fingerprint, after, PAGE)
        for row in rows:
            content = DeadLetterContent(row["body"], row["properties"], row["routing_key"])
            reading = read_again(content, max_bytes)
            accepted += reading.is_recognised
            unrecognised += not reading.is_recognised
            types.update({str(event.type) for event in reading.events})
            total += len(row["body"])
        if len(rows) < PAGE:
            is_whole = True
            break
        after = LetterPlace(rows[-1]["first_failed_at"], rows[-1]["id"])
        await asyncio.sleep(0)
    return GroupReading(accepted, unrecognised, types, is_whole)
