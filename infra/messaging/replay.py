"""A dead letter on its way back: edited, checked, and sent to its own queue alone.

What is done here is done in the caller's transaction. Of several letters each is judged for
itself: what can be done is done, and the rest is named with its reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pamqp.commands import Basic
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from events import EVENT_TYPES
from events.envelope import new_id as make_id
from events.envelope import now
from infra.amqp import topology
from infra.amqp.message import Message, fit, fit_text
from infra.errors import Permanent
from infra.messaging import outbox
from infra.messaging.dead_letter_content import (
    Changes,
    DeadLetterContent,
    InvalidChange,
    apply_changes,
    with_id,
)
from infra.messaging.decoder import DecodedDelivery, decode_delivery
from infra.messaging.delivery import Delivery
from infra.messaging.headers import KEY, REPLAYS
from infra.messaging.ordering_key import COMMAND_QUEUE
from infra.settings import Settings
from infra.storage.campaigns import LastCommand
from infra.storage.dead_letter_history import add_history, keep_original
from infra.storage.dead_letters import read_body, set_content, set_state
from infra.storage.newer_commands import describe_newer_change, find_newer_change
from schemas.escaping import NAME_LENGTH, escape

MAX_PENDING_BYTES = 1024 * 1024  # of the bodies that go into the outbox at a time
MAX_NAMED = 20  # changes that the history names
UNDO_TIME = timedelta(minutes=10)  # after a discard


class ReplayError(Exception):
    """It was not done, and why, in words for a person."""


@dataclass(frozen=True, slots=True)
class ReplayObjection:
    """A letter that was left as it is, and why."""

    letter: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How to replay: under a fresh id.

    ``force``: also what the inbox may have forgotten, and over newer changes of a campaign.
    """

    new_id: bool = False
    force: bool = False


async def edit(
    tx: AsyncConnection, head: RowMapping, changes: Changes, by: str, settings: Settings
) -> str | None:
    """Change an open letter; tells what is still wrong with it.

    Raises ``ReplayError`` for a letter that is not open, ``InvalidChange`` for a change that cannot
    be made.
    """
    if head["state"] != "open":
        raise ReplayError(f"{head['id']} is {head['state']}")
    limit, size = settings.max_event_bytes, head["body_bytes"]
    if size <= limit:
        before = await read_content(tx, head)
    elif changes.fields or changes.removed:
        raise InvalidChange(
            "changes", f"the body has {size} bytes, the limit is {limit}: give a whole body"
        )
    else:  # it stays in the database
        before = DeadLetterContent(b"", head["properties"], head["routing_key"])
    content = apply_changes(before, changes, limit)
    if changes.touch_body:
        await keep_original(tx, head["id"])
    await add_history(tx, [head["id"]], by, "edited", _name_changes(changes))
    await set_content(
        tx,
        head["id"],
        by,
        routing_key=content.routing_key,
        properties=content.properties,
        body=content.body if changes.touch_body else None,
    )
    if content.truncated:
        return "only the beginning of its body is kept: it needs a whole body"
    if size > limit and changes.body is None:
        return f"the body has {size} bytes, the limit is {limit}"
    return _find_error(head["queue"], content, limit)


async def replay(
    tx: AsyncConnection,
    heads: Sequence[RowMapping],
    by: str,
    settings: Settings,
    how: ReplayOptions,
    job_id: UUID | None = None,
) -> list[ReplayObjection]:
    """Send letters to their own queues, once the transaction has committed.

    Gives those that are not sent, with the reason. A few bodies are in memory at a time.
    """
    objections: list[ReplayObjection] = []
    messages: list[Message] = []
    for head in heads:
        try:
            messages.append(await _build_message(tx, head, settings, how))
        except ReplayError as refused:
            objections.append(ReplayObjection(head["id"], str(refused)))
        if sum(len(message.body) for message in messages) > MAX_PENDING_BYTES:
            await outbox.add(tx, messages)
            messages = []
    await outbox.add(tx, messages)
    refused_ids = {objection.letter for objection in objections}
    sent = [head["id"] for head in heads if head["id"] not in refused_ids]
    await set_state(tx, sent, "replayed", by, job_id)
    await add_history(tx, sent, by, "replayed", "under a fresh id" if how.new_id else "")
    return objections


async def _build_message(
    tx: AsyncConnection, head: RowMapping, settings: Settings, how: ReplayOptions
) -> Message:
    oldest = None if how.force else now() - timedelta(days=settings.inbox_days)
    if reason := _why_not(head, settings, oldest):
        raise ReplayError(reason)
    content = await read_content(tx, head)
    if not how.force and (change := await _newer_change(tx, head, content, settings)):
        raise ReplayError(f"{head['id']}: {describe_newer_change(change)} (force)")
    try:
        return replay_message(head, with_id(content, make_id()) if how.new_id else content)
    except InvalidChange as error:
        raise ReplayError(f"{head['id']} cannot have a fresh id: {error.rule}") from error


async def _newer_change(
    tx: AsyncConnection, head: RowMapping, content: DeadLetterContent, settings: Settings
) -> LastCommand | None:
    """Find what a command would overrule; nothing for what would only die again."""
    if head["queue"] != COMMAND_QUEUE:
        return None
    try:
        found = decode_letter(head["queue"], content, settings.max_event_bytes)
    except Permanent:
        return None
    return await find_newer_change(tx, found.event, head["first_failed_at"])


async def discard(
    tx: AsyncConnection,
    heads: Sequence[RowMapping],
    by: str,
    reason: str = "",
    job_id: UUID | None = None,
) -> list[ReplayObjection]:
    """Give open letters up for good; they stay on file. Gives those that are not open."""
    objections = [
        ReplayObjection(head["id"], f"{head['id']} is {head['state']}")
        for head in heads
        if head["state"] != "open"
    ]
    given_up = [head["id"] for head in heads if head["state"] == "open"]
    await set_state(tx, given_up, "discarded", by, job_id)
    await add_history(tx, given_up, by, "discarded", reason)
    return objections


async def undo_discard(
    tx: AsyncConnection, heads: Sequence[RowMapping], by: str, job_id: UUID | None = None
) -> list[ReplayObjection]:
    """Open letters again that were discarded in the last ``UNDO_TIME``; gives the others."""
    undone, objections = [], []
    for head in heads:
        if head["state"] != "discarded":
            objections.append(ReplayObjection(head["id"], f"{head['id']} is {head['state']}"))
        elif head["acted_at"] < now() - UNDO_TIME:
            minutes = UNDO_TIME // timedelta(minutes=1)
            reason = f"{head['id']} was discarded more than {minutes} minutes ago"
            objections.append(ReplayObjection(head["id"], reason))
        else:
            undone.append(head["id"])
    await set_state(tx, undone, "open", by, job_id)
    await add_history(tx, undone, by, "undone")
    return objections


def build_replay_id(head: RowMapping) -> str:
    """Build the id of the message that brings a letter back the next time."""
    return f"replay:{head['id']}:{head['replays'] + 1}"


def replay_message(head: RowMapping, content: DeadLetterContent) -> Message:
    """Make the message that brings a letter back to its queue.

    Its attempts begin at 0 again; how often it was replayed is remembered.
    """
    kept, replays = content.properties, head["replays"] + 1
    return Message(
        exchange=topology.RETURN_EXCHANGE,
        routing_key=head["queue"],
        body=content.body,
        message_id=build_replay_id(head),
        type=fit_text(kept["type"] or "") or None,
        correlation_id=fit(kept["correlation_id"] or "") or None,
        content_type=fit_text(kept["content_type"] or "application/octet-stream"),
        headers={**content.headers, KEY: content.routing_key, REPLAYS: replays},
    )


def parse_replayed_id(message_id: str | None, replays: int) -> UUID | None:
    """Parse which letter a message replays; None for one that ``replay_message`` did not make."""
    prefix, _, rest = (message_id or "").partition(":")
    letter_id, _, number = rest.partition(":")
    if prefix != "replay" or not replays or number != str(replays):
        return None
    try:
        return UUID(letter_id)
    except ValueError:
        return None


def _why_not(head: RowMapping, settings: Settings, oldest: datetime | None) -> str | None:
    """Tell why a letter cannot be replayed as it is, or None."""
    name, size = head["id"], head["body_bytes"]
    kept: Mapping[str, Any] = head["properties"]
    if head["state"] != "open":
        return f"{name} is {head['state']}"
    if kept.get("body_truncated"):
        return (
            f"{name} has only the first {size} of {kept.get('body_length')} bytes of its body:"
            " edit it first"
        )
    if size > settings.max_event_bytes:
        return f"{name} has {size} bytes, the limit is {settings.max_event_bytes}: edit it first"
    if oldest is not None and head["first_failed_at"] < oldest:
        return f"{name} is older than the inbox remembers: it might take effect twice (force)"
    return None


def decode_letter(
    queue: str, content: DeadLetterContent, limit: int, user_id: str | None = None
) -> DecodedDelivery:
    """Decode a letter as its queue's worker would, if ``user_id`` had sent it back.

    Raises ``Permanent``. ``limit`` is the largest body, bytes.
    """
    header = Basic.Properties(
        content_type=fit_text(content.properties["content_type"] or "") or None,
        headers={**content.headers, KEY: content.routing_key},
        user_id=user_id,
    )
    delivery = Delivery(
        0, queue, topology.RETURN_EXCHANGE, queue, content.body, header, redelivered=False
    )
    return decode_delivery(delivery, EVENT_TYPES, limit)


def _find_error(queue: str, content: DeadLetterContent, limit: int) -> str | None:
    """Tell why an edited letter would not be decoded, or None."""
    try:
        decode_letter(queue, content, limit)
    except Permanent as error:
        return error.reason
    return None


def _name_changes(changes: Changes) -> str:
    """Name what is changed, without its values."""
    names = [*changes.fields, *(f"{'.'.join(path)} removed" for path in changes.removed)]
    names += ["body"] if changes.body is not None else []
    names += [*changes.headers, *changes.properties]
    return ", ".join(escape(name, NAME_LENGTH) for name in names[:MAX_NAMED])


async def read_content(tx: AsyncConnection, head: RowMapping) -> DeadLetterContent:
    """Read what of a letter is sent again."""
    return DeadLetterContent(
        await read_body(tx, head["id"]), head["properties"], head["routing_key"]
    )
