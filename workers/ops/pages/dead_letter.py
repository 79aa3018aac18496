"""Dead letter: why did it fail, and would it pass now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from events.envelope import now
from infra.messaging.dead_letter_content import DeadLetterContent
from infra.messaging.dry_run import DryRun, run_dry
from infra.messaging.replay import UNDO_TIME, read_content
from infra.settings import Settings
from infra.storage.dead_letter_groups import GroupNote, count_by_state, read_note
from infra.storage.dead_letter_history import HistoryEntry, list_history, read_original
from infra.storage.dead_letters import find_dead_letters
from infra.storage.publisher_registry import PublisherRegistry
from infra.web.errors import not_found
from workers.ops.letter_form.changes import REMOVE
from workers.ops.letter_form.rows import build_rows
from workers.ops.page import Page
from workers.ops.pages.letter_body import (
    compare,
    decode_text,
    dump_bytes,
    find_schema_errors,
    format_json,
)
from workers.ops.pages.letter_reasons import ACTIONS, DID, describe, split_reason
from workers.ops.request import ConsoleRequest

VIEWS = ("form", "json", "came")


@dataclass(frozen=True, slots=True)
class LetterDetail:
    """All that is known of a letter; ``original`` is the body before the first edit."""

    head: RowMapping
    content: DeadLetterContent
    original: bytes | None
    history: Sequence[HistoryEntry]
    note: GroupNote
    group_open: int
    dry_run: DryRun | None


async def show(request: ConsoleRequest) -> Page:
    """Show a letter."""
    letter = await read_letter(request)
    return build_page(letter, view=request.query.get("view", ""), did=request.query.get("did", ""))


async def read_letter(request: ConsoleRequest) -> LetterDetail:
    """Read the letter of the address; raises an ``HttpError``: 404, 503."""
    letter_id = parse_id(request.web.match_info["id"])
    resources = request.state.resources
    registry = PublisherRegistry(resources.engine)
    return await request.read(
        "This dead letter", read_detail, letter_id, resources.settings, registry
    )


async def read_detail(
    tx: AsyncConnection, letter_id: UUID, settings: Settings, registry: PublisherRegistry
) -> LetterDetail:
    """Read a letter and run it dry; raises an ``HttpError`` (404)."""
    found = await find_dead_letters(tx, letter_id, letter_id)
    if not found:
        raise not_found("dead letter")
    head = found[0]
    content = await read_content(tx, head)
    dry_run = None
    if head["state"] == "open":
        dry_run = await run_dry(tx, head, content, settings, registry)
    history, original = await list_history(tx, letter_id), await read_original(tx, letter_id)
    note = await read_note(tx, head["fingerprint"])
    group_open = (await count_by_state(tx, head["fingerprint"])).get("open", 0)
    return LetterDetail(head, content, original, history, note, group_open, dry_run)


def build_page(
    letter: LetterDetail,
    *,
    view: str = "",
    did: str = "",
    typed: str | None = None,
    inputs: Mapping[str, str] | None = None,
    problem: str = "",
    status: int = 200,
) -> Page:
    """Build the page; ``typed`` and ``inputs`` are what was not saved, and ``problem`` says why.

    ``typed`` is the body as JSON, ``inputs`` are the fields of the form by the names of their rows.
    """
    head, content = letter.head, letter.content
    current = format_json(content.body) or decode_text(content.body)
    original = content.body if letter.original is None else letter.original
    came = format_json(original) or decode_text(original)
    errors = find_schema_errors(content) if typed is None else []
    found = [(error.place, error.rule) for error in errors]
    rows = build_rows(content, letter.original, found, inputs)
    can_edit = {"form": rows is not None, "json": current is not None or typed is not None}
    if typed is not None:
        view = "json"
    elif not can_edit.get(view, view in VIEWS):
        view = next((name for name, possible in can_edit.items() if possible), "came")
    shown = current if typed is None else typed
    context: dict[str, Any] = {
        "letter": head,
        "short_id": str(head["id"])[:8],
        "version": build_version(head),
        "why": describe(head["error_class"], head["stage"]),
        "parts": split_reason(head["reason"]),
        "view": view,
        "rows": rows,
        "remove": REMOVE,
        "removing": {name for name in inputs or () if name.startswith(REMOVE)},
        "text": shown,
        "line_count": (shown or "").count("\n") + 1,
        "errors": errors,
        "came": came,
        "dump": dump_bytes(original) if came is None else [],
        "size": len(original),
        "is_edited": letter.original not in (None, content.body),
        "diff": compare(came, current) if came is not None and current is not None else [],
        "binary": content.binary,
        "dry_run": letter.dry_run,
        "history": letter.history,
        "note": letter.note,
        "group_open": letter.group_open,
        "actions": ACTIONS,
        "did": DID.get(did, ""),
        "problem": problem,
        "undo_until": find_undo_end(head),
    }
    return Page(f"Dead letter {context['short_id']}", "dead_letter.html", context, status)


def build_version(head: RowMapping) -> str:
    """Write what a form was made from: it changes with whatever is done to the letter."""
    moments = (head["last_failed_at"], head["acted_at"])
    return f"{head['state']} " + " ".join(
        moment.isoformat() if moment else "" for moment in moments
    )


def find_undo_end(head: RowMapping) -> datetime | None:
    """Find until when a discard can be undone (UTC); None if it cannot be."""
    if head["state"] != "discarded" or head["acted_at"] is None:
        return None
    until: datetime = head["acted_at"] + UNDO_TIME
    return until if until > now() else None


def parse_id(text: str) -> UUID:
    """Parse the id in an address; raises an ``HttpError`` (404)."""
    try:
        return UUID(text)
    except ValueError:
        raise not_found("dead letter") from None
