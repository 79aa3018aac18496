"""The note of a group of dead letters: who looks after it, and what is known.

A note is kept by fingerprint, so it stays when letters come and go.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.dead_letter_groups import GroupNote, count_by_state, put_note, read_note
from infra.web.errors import HttpError, not_found
from workers.ops.page import Page, SeeOther
from workers.ops.pages.dead_letters import JobForm, build
from workers.ops.pages.letter_filter import LetterFilter
from workers.ops.request import ConsoleRequest

MAX_ASSIGNEE, MAX_NOTE = 100, 500  # characters
CONFLICT, UNPROCESSABLE = 409, 422


async def post_note(request: ConsoleRequest) -> Page | SeeOther:
    """Write the note of a group, or show what was typed again and why it was not saved."""
    fingerprint = request.web.match_info["group"].replace("\0", "")
    typed = GroupNote(
        _clean(request.form.get("assignee", "")), _clean(request.form.get("note", ""))
    )
    version, by = request.form.get("version", ""), request.session.content.email
    chosen = LetterFilter(group=fingerprint)
    try:
        _check(typed)
        subject = f"group {fingerprint}"[:200]
        await request.act("dead_letter.note", subject, write, fingerprint, version, typed, by)
    except HttpError as error:
        if error.status not in (CONFLICT, UNPROCESSABLE):
            raise
        form = JobForm("note").with_problem(error.message)
        return await build(request, chosen, (), form, note=typed, status=error.status)
    return SeeOther(chosen.address(anchor="letters"))


async def write(
    tx: AsyncConnection, fingerprint: str, version: str, typed: GroupNote, by: str
) -> None:
    """Write a note; raises an ``HttpError``: 404, or 409 if it was changed meanwhile."""
    if not await count_by_state(tx, fingerprint):
        raise not_found("group")
    current = await read_note(tx, fingerprint, lock=True)
    if (current.assignee, current.note) == (typed.assignee, typed.note):
        return
    if current.version != version:
        said = f"“{current.assignee}: {current.note}”, by {current.noted_by}"
        message = f"Not saved: the note was changed in the meantime ({said}). Yours is in the form."
        raise HttpError(CONFLICT, "CONFLICT", message)
    await put_note(tx, fingerprint, typed.assignee, typed.note, by)


def _check(typed: GroupNote) -> None:
    for name, text, most in (
        ("assignee", typed.assignee, MAX_ASSIGNEE),
        ("note", typed.note, MAX_NOTE),
    ):
        if len(text) > most:
            message = f"Not saved: the {name} has {len(text)} characters, the limit is {most}."
            raise HttpError(UNPROCESSABLE, "VALIDATION_ERROR", message)


def _clean(text: str) -> str:
    """Write a text in one line, without what Postgres stores in no text."""
    return " ".join(text.replace("\0", " ").encode(errors="replace").decode().split())
