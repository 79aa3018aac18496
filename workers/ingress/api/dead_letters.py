"""Dead letters over HTTP: list, read, edit, replay, discard."""

import re
from functools import partial
from typing import ParamSpec
from uuid import UUID

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.errors import Outage
from infra.messaging import replay
from infra.messaging.dead_letter_content import Changes, InvalidChange
from infra.messaging.replay import ReplayError, ReplayOptions
from infra.settings import Settings
from infra.storage.dead_letters import (
    DeadLetterFilter,
    list_dead_letters,
    read_body,
)
from infra.web.database import Query
from infra.web.errors import FieldError, invalid, not_found, unavailable
from infra.web.responses import success
from schemas.dead_letters import (
    DeadLetterDetail,
    DeadLetterUpdate,
    DeadLetterValidation,
)
from schemas.escaping import escape_json
from schemas.types import FrozenModel
from workers.ingress.api.audited_write import run_audited
from workers.ingress.api.dead_letter_batches import (
    BulkAction,
    apply_in_batches,
    apply_to_one,
    conflict,
    get_head,
    parse_cursor,
)
from workers.ingress.api.dead_letter_queries import (
    DeadLetterQuery,
    DiscardQueueQuery,
    ReplayQueueQuery,
)
from workers.ingress.api.page_response import page_response
from workers.ingress.context import RequestContext
from workers.ingress.http.parsing import read_id, read_model, read_query

QUEUE_NAME = re.compile(r"[a-z0-9_.-]{1,100}", re.ASCII)
RESOURCE = "dead letter"

P = ParamSpec("P")


async def get_dead_letters(context: RequestContext) -> web.Response:
    """List the dead letters of all queues by page, the oldest first."""
    return await _list(context, None)


async def get_dead_queue(context: RequestContext) -> web.Response:
    """List the dead letters of a queue by page, the oldest first."""
    return await _list(context, _read_queue(context))


async def get_dead_letter(context: RequestContext) -> web.Response:
    """Return a dead letter with its headers, failure and body."""
    queue, letter_id = _read_queue(context), read_id(context.request, RESOURCE)
    max_bytes = context.state.resources.settings.max_body_bytes
    found = await context.read("Dead letters", _read_detail, queue, letter_id, max_bytes)
    return _escape(success(context.request_id, found))


async def patch_dead_letter(context: RequestContext) -> web.Response:
    """Edit a dead letter; the response tells what is still invalid."""
    queue, letter_id = _read_queue(context), read_id(context.request, RESOURCE)
    patch = await read_model(context.request, DeadLetterUpdate)
    settings = context.state.resources.settings
    changes = Changes(
        fields=patch.changes or {},
        body=None if patch.body is None else patch.body.encode(),
        headers=patch.headers or {},
        properties=patch.properties or {},
    )
    by = context.principal.name
    return await _run(
        context, "edit", str(letter_id), _edit, queue, letter_id, changes, by, settings
    )


async def replay_dead_letter(context: RequestContext) -> web.Response:
    """Replay a dead letter to its queue."""
    return await _replay(context, read_id(context.request, RESOURCE))


async def replay_dead_queue(context: RequestContext) -> web.Response:
    """Replay the open dead letters of a queue, or those of a fingerprint."""
    return await _replay(context, None)


async def discard_dead_letter(context: RequestContext) -> web.Response:
    """Discard a dead letter; its record is kept."""
    return await _discard(context, read_id(context.request, RESOURCE))


async def discard_dead_queue(context: RequestContext) -> web.Response:
    """Discard the open dead letters of a queue, or those of a fingerprint."""
    return await _discard(context, None)


async def _list(context: RequestContext, queue: str | None) -> web.Response:
    query = read_query(context.request, DeadLetterQuery)
    state = None if query.state == "all" else query.state
    selected = DeadLetterFilter(state, queue, query.fingerprint)
    response = await page_response(
        context,
        query,
        "Dead letters",
        list_dead_letters,
        selected,
        page=query.page,
        per_page=query.per_page,
    )
    return _escape(response)


async def _replay(context: RequestContext, letter_id: UUID | None) -> web.Response:
    query = read_query(context.request, ReplayQueueQuery)
    options = ReplayOptions(new_id=query.new_id, force=query.force)
    settings, by = context.state.resources.settings, context.principal.name
    action = partial(replay.replay, by=by, settings=settings, how=options)
    return await _apply(context, "replay", letter_id, query, action)


async def _discard(context: RequestContext, letter_id: UUID | None) -> web.Response:
    query = read_query(context.request, DiscardQueueQuery)
    action = partial(replay.discard, by=context.principal.name)
    return await _apply(context, "discard", letter_id, query, action)


async def _apply(
    context: RequestContext,
    verb: str,
    letter_id: UUID | None,
    query: DiscardQueueQuery,
    action: BulkAction,
) -> web.Response:
    """Apply an action to one dead letter, or to the next open ones of a queue."""
    queue, cursor = _read_queue(context), parse_cursor(query.after)
    if letter_id is not None:
        return await _run(context, verb, str(letter_id), apply_to_one, queue, letter_id, action)
    selected = DeadLetterFilter("open", queue, query.fingerprint)
    return await _run(context, verb, queue, apply_in_batches, selected, cursor, action)


async def _run(
    context: RequestContext,
    verb: str,
    subject: str,
    query: Query[P, FrozenModel],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> web.Response:
    """Run an audited action and respond with its result."""
    try:
        result = await run_audited(context, f"dead_letter.{verb}", subject, query, *args, **kwargs)
    except Outage:
        raise unavailable("Dead letters cannot be changed right now.") from None
    return _escape(success(context.request_id, result))


async def _read_detail(
    tx: AsyncConnection, queue: str, letter_id: UUID, max_bytes: int
) -> DeadLetterDetail:
    """Read a dead letter, with its body if that has at most ``max_bytes``."""
    head = await get_head(tx, queue, letter_id)
    body = await read_body(tx, letter_id) if head["body_bytes"] <= max_bytes else None
    text = None if body is None else body.decode(errors="backslashreplace")
    values = {name: head[name] for name in DeadLetterDetail.model_fields if name != "body"}
    return DeadLetterDetail.model_validate({**values, "body": text})


async def _edit(
    tx: AsyncConnection, queue: str, letter_id: UUID, changes: Changes, by: str, settings: Settings
) -> DeadLetterValidation:
    """Apply changes; raises an ``HttpError``: 400 for an impossible change, 409 if not open."""
    head = await get_head(tx, queue, letter_id, lock=True)
    try:
        wrong = await replay.edit(tx, head, changes, by, settings)
    except InvalidChange as error:
        raise invalid([FieldError(error.field, error.rule)]) from None
    except ReplayError as error:
        raise conflict(str(error)) from None
    return DeadLetterValidation(id=letter_id, wrong=wrong)


def _escape(response: web.Response) -> web.Response:
    """Escape control characters in a response: its content is partly the publisher's."""
    if isinstance(response.body, bytes):
        response.body = escape_json(response.body)
    return response


def _read_queue(context: RequestContext) -> str:
    name = context.request.match_info["queue"]
    if not QUEUE_NAME.fullmatch(name):
        raise not_found("queue")
    return name
