"""What people do to one dead letter: edit, replay, discard, undo a discard.

Each is a POST, recorded in the audit log by the name that the API gives it. A form carries the
version that it was made from: what was changed in the meantime is not overwritten.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import NoReturn
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.messaging import replay
from infra.messaging.dead_letter_content import Changes, InvalidChange
from infra.messaging.replay import ReplayError, ReplayObjection, ReplayOptions
from infra.settings import Settings
from infra.storage.dead_letter_history import read_original
from infra.storage.dead_letters import find_dead_letters
from infra.web.errors import FieldError, HttpError, invalid, not_found
from workers.ops.letter_form.changes import read_changes
from workers.ops.letter_form.rows import build_rows
from workers.ops.page import Page, SeeOther
from workers.ops.pages.dead_letter import build_page, build_version, parse_id, read_letter
from workers.ops.request import ConsoleRequest

CONFLICT, BAD_REQUEST = 409, 400
MAX_REASON = 500  # characters
LetterAction = Callable[[AsyncConnection, list[RowMapping]], Awaitable[list[ReplayObjection]]]


async def post_edit(request: ConsoleRequest) -> Page | SeeOther:
    """Save what was edited, or the page again with what was typed and why it was not saved.

    A form has a ``body`` as JSON, ``restore``, or the fields of the event's type.
    """
    letter_id = parse_id(request.web.match_info["id"])
    # A form sends line ends as CR LF (HTML, "Constructing the entry list").
    form = {name: text.replace("\r\n", "\n") for name, text in request.form.items()}
    by, settings = request.session.content.email, request.state.resources.settings
    try:
        await request.act("dead_letter.edit", str(letter_id), edit, letter_id, form, by, settings)
    except HttpError as error:
        if error.status not in (CONFLICT, BAD_REQUEST):
            raise
        letter = await read_letter(request)
        typed, problem, status = form.get("body"), error.message, error.status
        return build_page(letter, typed=typed, inputs=form, problem=problem, status=status)
    view = "json" if "body" in form else "form"
    return SeeOther(f"/dead-letters/{letter_id}?did=saved&view={view}")


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


async def edit(
    tx: AsyncConnection, letter_id: UUID, form: Mapping[str, str], by: str, settings: Settings
) -> None:
    """Save a form; raises an ``HttpError``: 400, 404, or 409 if it was changed meanwhile."""
    head = await _lock(tx, letter_id)
    if build_version(head) != form.get("version", ""):
        _refuse("Not saved: the letter was changed in the meantime. Yours is kept in the form")
    try:
        changes = await _read_changes(tx, head, form)
        if changes != Changes():
            await replay.edit(tx, head, changes, by, settings)
    except InvalidChange as error:
        field = "" if error.field in ("body", "changes") else f"{error.field}: "
        raise HttpError(BAD_REQUEST, "INVALID", f"Not saved: {field}{error.rule}.") from None
    except ReplayError as error:
        _refuse(f"Not saved: {error}")


async def _read_changes(tx: AsyncConnection, head: RowMapping, form: Mapping[str, str]) -> Changes:
    """Read what a form changes; raises ``InvalidChange``."""
    if "restore" in form:
        return Changes(body=await read_original(tx, head["id"]))
    if "body" in form:
        return Changes(body=form["body"].encode(errors="replace"))
    content = await replay.read_content(tx, head)
    rows = build_rows(content, await read_original(tx, head["id"]), ())
    if rows is None:
        raise InvalidChange("body", "this body is edited as JSON alone")
    return read_changes(content, rows, form)


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
