"""Applies an action to one dead letter, or to many of a queue in batches.

A request about a queue handles at most ``MAX_DEAD_LETTERS`` open dead letters, the oldest first,
and stops earlier after ``MAX_BODY_BYTES`` of bodies. The result lists those that were rejected
with their reasons, tells whether there are more, and where to continue. So a request needs a
bounded amount of memory and time, however many dead letters there are.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.messaging.replay import ReplayObjection
from infra.storage.dead_letters import (
    DeadLetterFilter,
    find_dead_letters,
    list_next_dead_letters,
)
from infra.web.errors import FieldError, HttpError, invalid, not_found
from schemas.dead_letters import BulkResult, SkippedDeadLetter

MAX_DEAD_LETTERS = 200  # in one request
BATCH_SIZE = 50  # dead letters that are read at a time
MAX_BODY_BYTES = 16 * 1024 * 1024  # of the bodies that one request handles

# Handles locked dead letters; returns those that it rejects.
BulkAction = Callable[[AsyncConnection, Sequence[RowMapping]], Awaitable[list[ReplayObjection]]]
Cursor = tuple[datetime, UUID]  # a dead letter's first failure and id, which order the list


async def apply_to_one(
    tx: AsyncConnection, queue: str, letter_id: UUID, action: BulkAction
) -> BulkResult:
    """Apply an action to a dead letter; raises an ``HttpError``: 404, or 409 if rejected."""
    objections = await action(tx, [await get_head(tx, queue, letter_id, lock=True)])
    if objections:
        raise conflict(objections[0].reason)
    return BulkResult(count=1, more=False)


async def apply_in_batches(
    tx: AsyncConnection, selected: DeadLetterFilter, after: Cursor | None, action: BulkAction
) -> BulkResult:
    """Apply an action to the selected dead letters after a position, up to the limits.

    Raises an ``HttpError`` (404) when nothing is selected from the start.
    """
    start, handled, size = after, 0, 0
    skipped: list[SkippedDeadLetter] = []
    more = True
    while more and handled < MAX_DEAD_LETTERS and size < MAX_BODY_BYTES:
        heads = await list_next_dead_letters(tx, selected, after=after, limit=BATCH_SIZE, lock=True)
        more = len(heads) == BATCH_SIZE
        if not heads:
            break
        objections = await action(tx, heads)
        skipped += [SkippedDeadLetter(id=one.letter, reason=one.reason) for one in objections]
        after = (heads[-1]["first_failed_at"], heads[-1]["id"])
        handled += len(heads)
        size += sum(head["body_bytes"] for head in heads)
    if not handled and start is None:
        raise not_found("dead letter")
    position = _format_cursor(after) if more and after else None
    return BulkResult(
        count=handled - len(skipped), more=more, refused=tuple(skipped), next=position
    )


async def get_head(
    tx: AsyncConnection, queue: str, letter_id: UUID, *, lock: bool = False
) -> RowMapping:
    """Read a dead letter of a queue without its body; raises an ``HttpError`` (404)."""
    found = await find_dead_letters(tx, letter_id, letter_id, lock=lock)
    if not found or found[0]["queue"] != queue:
        raise not_found("dead letter")
    return found[0]


def conflict(reason: str) -> HttpError:
    """Build the 409 for an action that the dead letter's state does not allow."""
    return HttpError(409, "CONFLICT", f"It was not done: {reason}.")


def parse_cursor(text: str | None) -> Cursor | None:
    """Parse the position of an earlier response; raises an ``HttpError`` (400)."""
    if text is None:
        return None
    moment, _, letter_id = text.partition("_")
    try:
        failed_at = datetime.fromisoformat(moment)
        if failed_at.tzinfo is not None:
            return failed_at.astimezone(UTC), UUID(letter_id)
    except (ValueError, OverflowError):
        pass
    raise invalid([FieldError("after", "must be next of an earlier answer")])


def _format_cursor(cursor: Cursor) -> str:
    failed_at, letter_id = cursor
    return f"{failed_at.isoformat()}_{letter_id}".replace("+00:00", "Z")
