"""Operations: What became of a request that was answered 202."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from events.sources import API_SOURCE
from infra.security.operation_id import parse_operation_id
from infra.storage.operation_lists import (
    OperationCursor,
    OperationEvent,
    OperationRow,
    OperationRows,
    find_operation_events,
    list_operations,
    read_operation_row,
)
from infra.storage.users import find_emails
from schemas.operations import Operation
from workers.ops.event_views.links import operation_path
from workers.ops.event_views.list_query import (
    ListQuery,
    format_micros,
    parse_micros,
    read_list_query,
)
from workers.ops.page import Page
from workers.ops.request import ConsoleRequest

PER_PAGE = 50
STATES = {"done": "ok", "refused": "warn", "dead": "bad", "pending": "unknown"}


@dataclass(frozen=True, slots=True)
class OperationLine:
    """A line of the list; ``owner`` is the caller's account, times are UTC."""

    operation: Operation
    state: str
    path: str
    owner: UUID | None
    email: str | None
    event: OperationEvent | None
    at: datetime | None


async def show(request: ConsoleRequest) -> Page:
    """Show operations that have ended, the newest first, or the one that is asked for."""
    asked = read_list_query("/operations", request.query, ("id", "state"))
    named = asked.text("id")
    pending = None
    if named is not None:
        row = await request.read("Operations", read_operation_row, named)
        found = OperationRows([] if row is None else [row], None)
        if row is None and parse_operation_id(request.state.operation_key, named) is not None:
            pending = Operation(id=named, state="pending")
    else:
        found = await request.read(
            "Operations", list_operations, _read_state(asked), _read_cursor(request), PER_PAGE
        )
    context = {
        "asked": asked,
        "lines": await _build_lines(request, found.rows, pending),
        "next": "" if found.next is None else asked.link(after=_write_cursor(found.next)),
        "first": asked.link() if request.query.get("after") else "",
    }
    return Page("Operations", "operations.html", context)


def _read_state(asked: ListQuery) -> str | None:
    state = asked.text("state")
    return state if state in STATES else None


async def _build_lines(
    request: ConsoleRequest, rows: Sequence[OperationRow], pending: Operation | None
) -> Sequence[OperationLine]:
    told: list[tuple[Operation, datetime | None]] = [
        (one.operation, one.updated_at) for one in rows
    ]
    if pending is not None:
        told.append((pending, None))
    key = request.state.operation_key
    known = {one.id: parse_operation_id(key, one.id) for one, _ in told}
    owners = {name: found.owner if found else None for name, found in known.items()}
    people = {owner for owner in owners.values() if owner is not None}
    emails = await request.read("Operations", find_emails, people)
    events = await request.read("Operations", find_operation_events, list(known), API_SOURCE)
    return [
        OperationLine(
            one,
            STATES[one.state],
            operation_path(one.id),
            owner := owners[one.id],
            emails.get(owner) if owner else None,
            events.get(one.id),
            at,
        )
        for one, at in told
    ]


def _write_cursor(place: OperationCursor) -> str:
    return f"{format_micros(place.updated_at)}-{place.id}"


def _read_cursor(request: ConsoleRequest) -> OperationCursor | None:
    micros, _, name = request.query.get("after", "").partition("-")
    at = parse_micros(micros)
    return OperationCursor(at, name) if at is not None and name and "\0" not in name else None
