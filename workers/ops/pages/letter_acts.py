"""What people do to one dead letter: edit, replay, discard, undo a discard.

Each is a POST, recorded in the audit log by the name that the API gives it. A form carries the
version that it was made from: what was changed in the meantime is not overwritten.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import NoReturn
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.messaging import replay
from infra.messaging.dead_letter_content import Changes, InvalidChange
from infra.messaging.replay import ReplayError, ReplayObjection, ReplayOptions
from infra.settings import Settings
from infra.storage.dead_letters import find_dead_letters
from infra.web.errors import FieldError, HttpError, invalid, not_found
from workers.ops.page import Page, SeeOther
from workers.ops.pages.dead_letter import build_page, build_version, parse_id, read_letter
from workers.ops.request import ConsoleRequest

CONFLICT, BAD_REQUEST = 409, 400
MAX_REASON = 500  # characters
LetterAction = Callable[[AsyncConnection, list[RowMapping]], Awaitable[list[ReplayObjection]]]


async def post_edit(request: ConsoleRequest) -> Page | SeeOther:
    """Save an edited body, or the page again with what was typed and why it was not saved."""
    letter_id = parse_id(request.web.match_info["id"])
    # A form sends line ends as CR LF (HTML, "Constructing the entry list").
    text = request.form.get("body", "").replace("\r\n", "\n")
    by, settings = request.session.content.email, request.state.resources.settings
    version = request.form.get("version", "")
    try:
        await request.act(
            "dead_letter.edit", str(letter_id), edit_body, letter_id, version, text, by, settings
        )
    except HttpError as error:
        if error.status not in (CONFLICT, BAD_REQUEST):
            raise
        letter = await read_letter(request)
        return build_page(letter, typed=text, problem=error.message, status=error.status)
    return SeeOther(f"/dead-letters/{letter_id}?did=saved")


async def post_replay(request: ConsoleRequest) -> SeeOther:
    """Replay a letter, as it is."""
    how = ReplayOptions(new_id="new_id" in request.form, force="force" in request.form)
    settings = request.state.resources.settings
    action = partial(replay.replay, by=request.session.content.email, settings=settings, how=how)
    return await _act(request, "replay", "replayed", action)


async def post_discard(request: ConsoleRequest) -> SeeOther:
    """Discard a letter with a reason."""
    reason = request.form.get("reason", "").strip()[:MAX_REASON].replace("\0", "")
    if not reason:
        raise invalid([FieldError("reason", "Not discarded: say why, for those who look later")])
    action = partial(replay.discard, by=request.session.content.email, reason=reason)
    return await _act(request, "discard", "discarded", action)


async def post_undo(request: ConsoleRequest) -> SeeOther:
    """Undo a discard of the last ten minutes."""
    action = partial(replay.undo_discard, by=request.session.content.email)
    return await _act(request, "undo_discard", "undone", action)


async def edit_body(
    tx: AsyncConnection, letter_id: UUID, version: str, text: str, by: str, settings: Settings
) -> None:
    """Replace the body; raises an ``HttpError``: 400, 404, or 409 if it was changed meanwhile."""
    head = await _lock(tx, letter_id)
    if build_version(head) != version:
        _refuse("Not saved: the letter was changed in the meantime. Yours is kept in the form")
    try:
        await replay.edit(tx, head, Changes(body=text.encode(errors="replace")), by, settings)
    except InvalidChange as error:
        raise HttpError(BAD_REQUEST, "INVALID", f"Not saved: {error.rule}.") from None
    except ReplayError as error:
        _refuse(f"Not saved: {error}")


async def apply(tx: AsyncConnection, letter_id: UUID, action: LetterAction) -> None:
    """Apply an action to a letter; raises an ``HttpError``: 404, or 409 if it is rejected."""
    objections = await action(tx, [await _lock(tx, letter_id)])
    if objections:
        _refuse(f"Nothing was changed: {objections[0].reason}")


async def _act(request: ConsoleRequest, verb: str, did: str, action: LetterAction) -> SeeOther:
    letter_id = parse_id(request.web.match_info["id"])
    await request.act(f"dead_letter.{verb}", str(letter_id), apply, letter_id, action)
    return SeeOther(f"/dead-letters/{letter_id}?did={did}")


async def _lock(tx: AsyncConnection, letter_id: UUID) -> RowMapping:
    found = await find_dead_letters(tx, letter_id, letter_id, lock=True)
    if not found:
        raise not_found("dead letter")
    return found[0]


def _refuse(reason: str) -> NoReturn:
    raise HttpError(CONFLICT, "CONFLICT", f"{reason}.")
