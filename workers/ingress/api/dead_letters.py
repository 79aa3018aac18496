"""Dead letters over HTTP: list, read, edit, replay, discard.

A request about a queue handles at most ``MAX_DEAD_LETTERS`` open dead letters, the oldest first,
and stops earlier after ``MAX_BODY_BYTES`` of bodies. The response lists those that were rejected
with their reasons, says whether there are more and where to continue. So a request needs a
bounded amount of memory and time, however many dead letters there are.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from aiohttp import web
from pydantic import Field
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.errors import Outage
from infra.messaging import replay
from infra.messaging.dead_letter_content import Changes, InvalidChange
from infra.messaging.replay import ReplayError, ReplayObjection, ReplayOptions
from infra.storage.dead_letters import (
    DeadLetterFilter,
    find_dead_letters,
    list_dead_letters,
    list_next_dead_letters,
    read_body,
)
from schemas.dead_letters import (
    BulkResult,
    DeadLetterDetail,
    DeadLetterState,
    DeadLetterSummary,
    DeadLetterUpdate,
    DeadLetterValidation,
    SkippedDeadLetter,
)
from schemas.escaping import escape_json
from schemas.types import FrozenModel, Text
from workers.ingress.api.audited_write import AdminAction, run_audited
from workers.ingress.api.page_response import page_response
from workers.ingress.context import RequestContext
from workers.ingress.http.errors import FieldError, HttpError, invalid, not_found, unavailable
from workers.ingress.http.pagination import PageQuery
from workers.ingress.http.parsing import read_id, read_model, read_query
from workers.ingress.http.responses import success

MAX_DEAD_LETTERS = 200  # letters in one request
BATCH_SIZE = 50  # letters that are read at a time
MAX_BODY_BYTES = 16 * 1024 * 1024  # of the bodies that one request sends
QUEUE_NAME = re.compile(r"[a-z0-9_.-]{1,100}", re.ASCII)
RESOURCE = "dead letter"

BulkAction = Callable[[AsyncConnection, Sequence[RowMapping]], Awaitable[list[ReplayObjection]]]
Cursor = tuple[datetime, UUID]  # a letter's place in the order of listing

Fingerprint = Annotated[Text, Field(max_length=100)]


class DeadLetterQuery(PageQuery):
    """Which letters to list."""

    state: DeadLetterState | Literal["all"] = "open"
    fingerprint: Fingerprint | None = None


class DiscardQueueQuery(FrozenModel):
    """Which letters of a queue are meant: all open ones, or those of one fingerprint.

    ``after`` goes on where an earlier answer (``next``) has ended.
    """

    fingerprint: Fingerprint | None = None
    after: Annotated[Text, Field(max_length=100)] | None = None


class ReplayOneQuery(FrozenModel):
    """How to replay: under a fresh id.

    ``force``: even what the inbox may have forgotten, and over a newer change of the campaign.
    """

    new_id: bool = False
    force: bool = False


class ReplayQueueQuery(ReplayOneQuery, DiscardQueueQuery):
    """Which letters of a queue to replay, and how."""


async def get_dead_letters(context: RequestContext) -> web.Response:
    """Answer a page of the dead letters of all queues, the oldest first."""
    return await _list(context, None)


async def get_dead_queue(context: RequestContext) -> web.Response:
    """Answer a page of the dead letters of a queue, the oldest first."""
    return await _list(context, _read_queue(context))


async def get_dead_letter(context: RequestContext) -> web.Response:
    """Answer all that is known of a dead letter."""
    queue, letter_id = _read_queue(context), read_id(context.request, RESOURCE)
    most = context.state.resources.settings.max_body_bytes

    async def find(tx: AsyncConnection) -> DeadLetterDetail:
        head = await _lock_dead_letter(tx, queue, letter_id)
        body = await read_body(tx, letter_id) if head["body_bytes"] <= most else None
        text = None if body is None else body.decode(errors="backslashreplace")
        values = {name: head[name] for name in DeadLetterDetail.model_fields if name != "body"}
        return DeadLetterDetail.model_validate({**values, "body": text})

    return _escape(success(context.request_id, await context.read(find, "Dead letters")))


async def patch_dead_letter(context: RequestContext) -> web.Response:
    """Edit a dead letter; the answer says what is still wrong with it."""
    queue, letter_id = _read_queue(context), read_id(context.request, RESOURCE)
    patch = await read_model(context.request, DeadLetterUpdate)
    settings = context.state.resources.settings
    changes = Changes(
        fields=patch.changes or {},
        body=None if patch.body is None else patch.body.encode(),
        headers=patch.headers or {},
        properties=patch.properties or {},
    )

    async def edit(tx: AsyncConnection) -> DeadLetterValidation:
        head = await _lock_dead_letter(tx, queue, letter_id, lock=True)
        try:
            wrong = await replay.edit(tx, head, changes, context.principal.name, settings)
        except InvalidChange as error:
            raise invalid([FieldError(error.field, error.rule)]) from None
        return DeadLetterValidation(id=letter_id, wrong=wrong)

    return await _run_and_respond(context, "edit", str(letter_id), edit)


async def replay_dead_letter(context: RequestContext) -> web.Response:
    """Send a dead letter to its own queue again."""
    return await _replay(context, read_id(context.request, RESOURCE))


async def replay_dead_queue(context: RequestContext) -> web.Response:
    """Send the dead letters of a queue, or those of a fingerprint, to it again."""
    return await _replay(context, None)


async def discard_dead_letter(context: RequestContext) -> web.Response:
    """Give a dead letter up for good; it stays on file."""
    return await _discard(context, read_id(context.request, RESOURCE))


async def discard_dead_queue(context: RequestContext) -> web.Response:
    """Give the dead letters of a queue, or those of a fingerprint, up for good."""
    return await _discard(context, None)


async def _list(context: RequestContext, queue: str | None) -> web.Response:
    query = read_query(context.request, DeadLetterQuery)
    state = None if query.state == "all" else query.state
    wanted = DeadLetterFilter(state, queue, query.fingerprint)

    async def find(tx: AsyncConnection) -> tuple[Sequence[DeadLetterSummary], int]:
        return await list_dead_letters(tx, wanted, page=query.page, per_page=query.per_page)

    return _escape(await page_response(context, query, find, "Dead letters"))


async def _replay(context: RequestContext, letter_id: UUID | None) -> web.Response:
    asked = read_query(context.request, ReplayQueueQuery)
    how = ReplayOptions(new_id=asked.new_id, force=asked.force)
    settings, by = context.state.resources.settings, context.principal.name

    async def send(tx: AsyncConnection, heads: Sequence[RowMapping]) -> list[ReplayObjection]:
        return await replay.replay(tx, heads, by, settings, how)

    return await _apply(context, "replay", letter_id, asked, send)


async def _discard(context: RequestContext, letter_id: UUID | None) -> web.Response:
    asked = read_query(context.request, DiscardQueueQuery)

    async def discard(tx: AsyncConnection, heads: Sequence[RowMapping]) -> list[ReplayObjection]:
        return await replay.discard(tx, heads, context.principal.name)

    return await _apply(context, "discard", letter_id, asked, discard)


async def _apply(
    context: RequestContext,
    verb: str,
    letter_id: UUID | None,
    asked: DiscardQueueQuery,
    act: BulkAction,
) -> web.Response:
    """Act on a letter, or on the next open ones of a queue."""
    queue = _read_queue(context)
    wanted, after = DeadLetterFilter("open", queue, asked.fingerprint), _parse_cursor(asked.after)

    async def run(tx: AsyncConnection) -> BulkResult:
        if letter_id is None:
            return await _apply_in_batches(tx, wanted, after, act)
        objections = await act(tx, [await _lock_dead_letter(tx, queue, letter_id, lock=True)])
        if objections:
            raise ReplayError(objections[0].reason)
        return BulkResult(count=1, more=False)

    return await _run_and_respond(context, verb, str(letter_id or queue), run)


async def _apply_in_batches(
    tx: AsyncConnection, wanted: DeadLetterFilter, after: Cursor | None, act: BulkAction
) -> BulkResult:
    """Act on letters page by page, until enough were looked at; names what is not done."""
    first, looked_at, size = after, 0, 0
    refused: list[SkippedDeadLetter] = []
    more = True
    while more and looked_at < MAX_DEAD_LETTERS and size < MAX_BODY_BYTES:
        heads = await list_next_dead_letters(tx, wanted, after=after, limit=BATCH_SIZE, lock=True)
        more = len(heads) == BATCH_SIZE
        if not heads:
            break
        refused += [SkippedDeadLetter(id=o.letter, reason=o.reason) for o in await act(tx, heads)]
        after = (heads[-1]["first_failed_at"], heads[-1]["id"])
        looked_at += len(heads)
        size += sum(head["body_bytes"] for head in heads)
    if not looked_at and first is None:
        raise not_found(RESOURCE)
    end = f"{after[0].isoformat()}_{after[1]}".replace("+00:00", "Z") if more and after else None
    return BulkResult(count=looked_at - len(refused), more=more, refused=tuple(refused), next=end)


async def _run_and_respond(
    context: RequestContext, verb: str, subject: str, deed: AdminAction[FrozenModel]
) -> web.Response:
    async def run(tx: AsyncConnection) -> FrozenModel:
        try:
            return await deed(tx)
        except ReplayError as refused:
            raise HttpError(409, "CONFLICT", f"It was not done: {refused}.") from None

    try:
        done = await run_audited(context, f"dead_letter.{verb}", subject, run)
    except Outage:
        raise unavailable("Dead letters cannot be changed right now.") from None
    return _escape(success(context.request_id, done))


async def _lock_dead_letter(
    tx: AsyncConnection, queue: str, letter_id: UUID, *, lock: bool = False
) -> RowMapping:
    """Find a letter of a queue, whatever its state; raises an ``HttpError`` (404)."""
    found = await find_dead_letters(tx, letter_id, letter_id, lock=lock)
    if not found or found[0]["queue"] != queue:
        raise not_found(RESOURCE)
    return found[0]


def _parse_cursor(after: str | None) -> Cursor | None:
    """Read where to go on; raises an ``HttpError`` (400)."""
    if after is None:
        return None
    moment, _, letter = after.partition("_")
    try:
        found = datetime.fromisoformat(moment)
        if found.tzinfo is not None:
            return found.astimezone(UTC), UUID(letter)
    except (ValueError, OverflowError):
        pass
    raise invalid([FieldError("after", "must be next of an earlier answer")])


def _escape(response: web.Response) -> web.Response:
    """Escape in an answer what has no place on a terminal; publishers have written some of it."""
    if isinstance(response.body, bytes):
        response.body = escape_json(response.body)
    return response


def _read_queue(context: RequestContext) -> str:
    name = context.request.match_info["queue"]
    if not QUEUE_NAME.fullmatch(name):
        raise not_found("queue")
    return name
