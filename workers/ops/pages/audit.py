"""Audit: Who did what."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from infra.storage.audit_lists import AuditCursor, AuditFilter, list_audit_rows
from infra.storage.users import find_emails, find_user_id
from schemas.audit import AuditEntry
from workers.ops.event_views.links import build_path
from workers.ops.event_views.list_query import (
    ListQuery,
    format_micros,
    parse_micros,
    read_list_query,
)
from workers.ops.page import Page
from workers.ops.request import ConsoleRequest

PER_PAGE = 50
TEXTS, TIMES = ("actor", "action", "subject", "outcome", "address"), ("from", "to")
ACTOR_RULE = "No account has this e-mail address or id."
UNPROCESSABLE = 422


@dataclass(frozen=True, slots=True)
class AuditLine:
    """An entry with the e-mail address of its actor, and the events of its request."""

    entry: AuditEntry
    email: str | None
    events: str


async def show(request: ConsoleRequest) -> Page:
    """Show the entries that match, the newest first; 422 with what is wrong in the form."""
    asked = read_list_query("/audit", request.query, TEXTS, TIMES)
    actor = await _find_actor(request, asked.text("actor"))
    errors = dict(asked.errors)
    if asked.text("actor") is not None and actor is None:
        errors["actor"] = ACTOR_RULE
    if errors:
        context = {"asked": asked, "errors": errors, "lines": None, "next": "", "first": ""}
        return Page("Audit", "audit.html", context, UNPROCESSABLE)
    found = await request.read(
        "The audit log",
        list_audit_rows,
        _build_filter(asked, actor),
        _read_cursor(request),
        PER_PAGE,
    )
    context = {
        "asked": asked,
        "errors": errors,
        "lines": await build_lines(request, found.rows),
        "next": "" if found.next is None else asked.link(after=_write_cursor(found.next)),
        "first": asked.link() if request.query.get("after") else "",
    }
    return Page("Audit", "audit.html", context)


def _build_filter(asked: ListQuery, actor: UUID | None) -> AuditFilter:
    return AuditFilter(
        actor=actor,
        action=asked.text("action"),
        subject=asked.text("subject"),
        outcome=asked.text("outcome"),
        address=asked.text("address"),
        since=asked.time("from"),
        until=asked.time("to"),
    )


async def _find_actor(request: ConsoleRequest, typed: str | None) -> UUID | None:
    """Find the account that is named by its e-mail address or id; an id need not exist now."""
    if typed is None:
        return None
    try:
        return UUID(typed)
    except ValueError:
        return await request.read("Accounts", find_user_id, typed.lower())


async def build_lines(
    request: ConsoleRequest, entries: Sequence[AuditEntry]
) -> Sequence[AuditLine]:
    """Add the e-mail addresses of the actors; raises an ``HttpError`` (503)."""
    people = {entry.actor for entry in entries if entry.actor is not None}
    emails = await request.read("Accounts", find_emails, people)
    return [
        AuditLine(
            entry,
            emails.get(entry.actor) if entry.actor else None,
            build_path("/events", q=entry.correlation_id) if entry.correlation_id else "",
        )
        for entry in entries
    ]


def _write_cursor(place: AuditCursor) -> str:
    return f"{format_micros(place.at)}-{place.id.hex}"


def _read_cursor(request: ConsoleRequest) -> AuditCursor | None:
    micros, _, name = request.query.get("after", "").partition("-")
    at = parse_micros(micros)
    try:
        return None if at is None else AuditCursor(at, UUID(hex=name))
    except ValueError:
        return None
