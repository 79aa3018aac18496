"""Lists of the audit log by cursor, the newest first.

A rare value could make a list read the whole log, so one call reads at most ``MAX_SCANNED``
entries.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Select, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.tables import audit
from schemas.audit import AuditEntry

MAX_SCANNED = 10_000  # entries that one call reads
FILTERS = ("action", "subject", "outcome", "address")


class AuditCursor(NamedTuple):
    """A place in a list: the entry that was read last."""

    at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What entries have to be; ``since`` is inclusive, ``until`` exclusive, both aware."""

    actor: UUID | None = None
    action: str | None = None
    subject: str | None = None
    outcome: str | None = None
    address: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditRows:
    """Entries, and where the list goes on (None: it is at its end)."""

    rows: Sequence[AuditEntry]
    next: AuditCursor | None


async def list_audit_rows(
    tx: AsyncConnection, matching: AuditFilter, after: AuditCursor | None, limit: int
) -> AuditRows:
    """List the entries that match, the newest first, from those before ``after``."""
    scan = _build_scan(matching, after)
    read = scan.limit(MAX_SCANNED).subquery()
    wanted = {name: getattr(matching, name) for name in FILTERS}
    conditions = [read.c[name] == value for name, value in wanted.items() if value is not None]
    query = (
        select(read)
        .where(*conditions)
        .order_by(read.c.at.desc(), read.c.id.desc())
        .limit(limit + 1)
    )
    found = await tx.execute(query)
    rows = [AuditEntry.model_validate(row, from_attributes=True) for row in found]
    if len(rows) > limit:
        last = rows[limit - 1]
        return AuditRows(rows[:limit], AuditCursor(last.at, last.id))
    if not conditions:
        return AuditRows(rows, None)
    end = scan.with_only_columns(audit.c.at, audit.c.id).offset(MAX_SCANNED - 1).limit(1)
    row = (await tx.execute(end)).one_or_none()
    return AuditRows(rows, None if row is None else AuditCursor(*row))


async def list_recent_actions(
    tx: AsyncConnection, actions: Collection[str], limit: int
) -> Sequence[AuditEntry]:
    """List the newest entries of these actions, as far as ``MAX_SCANNED`` entries reach."""
    read = _build_scan(AuditFilter(), None).limit(MAX_SCANNED).subquery()
    order = read.c.at.desc(), read.c.id.desc()
    query = select(read).where(read.c.action.in_(actions)).order_by(*order).limit(limit)
    return [AuditEntry.model_validate(row, from_attributes=True) for row in await tx.execute(query)]


def _build_scan(matching: AuditFilter, after: AuditCursor | None) -> Select[tuple[object, ...]]:
    """Build a query in the order of an index: of the actor, or of the time."""
    c = audit.c
    scan = select(audit).order_by(c.at.desc(), c.id.desc())
    if matching.actor is not None:
        scan = scan.where(c.actor == matching.actor)
    if matching.since is not None:
        scan = scan.where(c.at >= matching.since)
    if matching.until is not None:
        scan = scan.where(c.at < matching.until)
    if after is not None:
        scan = scan.where(c.at <= after.at, tuple_(c.at, c.id) < tuple_(*map(literal, after)))
    return scan
