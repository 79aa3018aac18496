"""Dead letters over HTTP: list, show, mend, replay, discard, as ``python -m infra.dead`` does.

What is asked of a queue concerns the oldest ``MOST`` of its open letters that are no larger than
an event may be; the answer says whether there may be more. So a request needs a bounded
amount of memory, whatever has died.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Literal
from uuid import UUID

from aiohttp import web
from pydantic import Field
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from infra import replay
from infra.errors import Outage
from infra.replay import Refused
from infra.settings import Settings
from infra.store.dead_letters import find_letters, list_letters
from schemas.base import Frozen, Text
from schemas.dead_letters import DeadLetter, Handled, LetterEntry, LetterPatch, LetterState, Mended
from workers.ingress.acts import Deed, carry_out
from workers.ingress.body import read_id, read_model, read_query
from workers.ingress.envelope import success
from workers.ingress.gate import Call
from workers.ingress.paging import PageQuery, answer_page
from workers.ingress.refusals import Detail, Refusal, invalid, not_found, unavailable

MOST = 200  # letters in one request
QUEUE = re.compile(r"[a-z0-9_.-]{1,100}", re.ASCII)
WHAT = "dead letter"

Fingerprint = Annotated[Text, Field(max_length=100)]


class DeadQuery(PageQuery):
    """Which letters to list."""

    state: LetterState | Literal["all"] = "open"
    fingerprint: Fingerprint | None = None


class DiscardQuery(Frozen):
    """Which letters of a queue are meant: all open ones, or those of one fingerprint."""

    fingerprint: Fingerprint | None = None


class HowQuery(Frozen):
    """How to replay: under a fresh id; even if the inbox may have forgotten the old one."""

    new_id: bool = False
    force: bool = False


class ReplayQuery(HowQuery, DiscardQuery):
    """Which letters of a queue to replay, and how."""


async def get_dead_letters(call: Call) -> web.Response:
    """Answer a page of the dead letters of all queues, the oldest first."""
    return await _list(call, None)


async def get_dead_queue(call: Call) -> web.Response:
    """Answer a page of the dead letters of a queue, the oldest first."""
    return await _list(call, _queue(call))


async def get_dead_letter(call: Call) -> web.Response:
    """Answer all that is known of a dead letter."""
    settings = call.gate.resources.settings
    queue, letter_id = _queue(call), read_id(call.request, WHAT)

    async def find(tx: AsyncConnection) -> list[RowMapping]:
        return await find_letters(tx, queue=queue, prefix=str(letter_id))

    found = await call.read(find, "Dead letters")
    if not found:
        raise not_found(WHAT)
    return success(call.request_id, _shown(found[0], settings.max_body_bytes))


async def patch_dead_letter(call: Call) -> web.Response:
    """Mend a dead letter; the answer says what is still wrong with it."""
    queue, letter_id = _queue(call), read_id(call.request, WHAT)
    patch = await read_model(call.request, LetterPatch)
    settings = call.gate.resources.settings

    async def mend(tx: AsyncConnection) -> Mended:
        (row,) = await _find(tx, settings, queue, letter_id)
        body = _mended(row["body"], patch)
        return Mended(
            id=letter_id, wrong=await replay.mend(tx, row, body, call.caller.name, settings)
        )

    return await _carry_out(call, "edit", str(letter_id), mend)


async def replay_dead_letter(call: Call) -> web.Response:
    """Send a dead letter to its own queue again."""
    return await _replay(call, read_id(call.request, WHAT))


async def replay_dead_queue(call: Call) -> web.Response:
    """Send the dead letters of a queue, or those of a fingerprint, to it again."""
    return await _replay(call, None)


async def discard_dead_letter(call: Call) -> web.Response:
    """Give a dead letter up for good; it stays on file."""
    return await _discard(call, read_id(call.request, WHAT))


async def discard_dead_queue(call: Call) -> web.Response:
    """Give the dead letters of a queue, or those of a fingerprint, up for good."""
    return await _discard(call, None)


async def _list(call: Call, queue: str | None) -> web.Response:
    query = read_query(call.request, DeadQuery)
    wanted = {**query.model_dump(), "state": None if query.state == "all" else query.state}

    async def find(tx: AsyncConnection) -> tuple[Sequence[LetterEntry], int]:
        return await list_letters(tx, queue=queue, **wanted)

    return await answer_page(call, query, find, "Dead letters")


async def _replay(call: Call, letter_id: UUID | None) -> web.Response:
    queue, asked = _queue(call), read_query(call.request, ReplayQuery)
    settings, by = call.gate.resources.settings, call.caller.name

    async def send(tx: AsyncConnection) -> Handled:
        rows = await _find(tx, settings, queue, letter_id, asked.fingerprint)
        how = {"new_id": asked.new_id, "force": asked.force}
        await replay.send_again(tx, rows, by, settings, **how)
        return Handled(count=len(rows), more=len(rows) == MOST)

    return await _carry_out(call, "replay", str(letter_id or queue), send)


async def _discard(call: Call, letter_id: UUID | None) -> web.Response:
    queue, asked = _queue(call), read_query(call.request, DiscardQuery)
    settings = call.gate.resources.settings

    async def discard(tx: AsyncConnection) -> Handled:
        rows = await _find(tx, settings, queue, letter_id, asked.fingerprint)
        await replay.give_up(tx, rows, call.caller.name)
        return Handled(count=len(rows), more=len(rows) == MOST)

    return await _carry_out(call, "discard", str(letter_id or queue), discard)


async def _carry_out(call: Call, verb: str, subject: str, deed: Deed[Frozen]) -> web.Response:
    async def run(tx: AsyncConnection) -> Frozen:
        try:
            return await deed(tx)
        except Refused as refused:
            raise Refusal(409, "CONFLICT", f"It was not done: {refused}.") from None

    try:
        return success(call.request_id, await carry_out(call, f"dead_letter.{verb}", subject, run))
    except Outage:
        raise unavailable("Dead letters cannot be changed right now.") from None


async def _find(
    tx: AsyncConnection,
    settings: Settings,
    queue: str,
    letter_id: UUID | None,
    fingerprint: str | None = None,
) -> list[RowMapping]:
    """Find and lock a letter, whatever its state, or the first open ones of a queue."""
    if letter_id is not None:
        found = await find_letters(tx, queue=queue, prefix=str(letter_id), lock=True)
    else:
        found = await find_letters(
            tx,
            state="open",
            queue=queue,
            fingerprint=fingerprint,
            largest=settings.max_event_bytes,
            lock=True,
            most=MOST,
        )
    if not found:
        raise not_found(WHAT)
    return found


def _queue(call: Call) -> str:
    name = call.request.match_info["queue"]
    if not QUEUE.fullmatch(name):
        raise not_found("queue")
    return name


def _mended(body: bytes, patch: LetterPatch) -> bytes:
    if patch.changes is None:
        return (patch.body or "").encode()
    try:
        return replay.edited(body, patch.changes)
    except ValueError:
        message = "must be values of JSON for places that the letter's body, a JSON object, has"
        raise invalid([Detail("changes", message)]) from None


def _shown(row: RowMapping, most: int) -> DeadLetter:
    body = row["body"].decode(errors="backslashreplace") if len(row["body"]) <= most else None
    return DeadLetter.model_validate({**{n: row[n] for n in DeadLetter.model_fields}, "body": body})
