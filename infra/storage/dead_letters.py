"""Queries for dead letters: filing, listing, editing, changes of state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, RowMapping, func, literal, or_, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.security.operation_id import has_operation_id_format
from infra.storage.tables import SEARCHED_COLUMNS, dead_letters
from schemas.dead_letters import DeadLetterSummary


@dataclass(frozen=True, slots=True, eq=False)
class DeadLetterRow:
    """A dead letter; ``id`` is the same when the same message fails again unchanged."""

    id: UUID
    queue: str
    routing_key: str
    message_id: str | None
    type: str | None
    source: str | None
    event_id: str | None
    body: bytes
    properties: dict[str, Any]
    reason: str
    error_class: str
    stage: str
    worker: str
    attempts: int
    first_failed_at: datetime
    last_failed_at: datetime
    fingerprint: str
    replays: int


COLUMNS = tuple(field.name for field in fields(DeadLetterRow))
_PARAMETERS = (
    "cast(:properties as jsonb)" if name == "properties" else f":{name}" for name in COLUMNS
)

# A message that fails again unchanged has the same id: its dead letter is reopened.
PUT = text(f"""
    insert into dead_letters ({", ".join(COLUMNS)})
    values ({", ".join(_PARAMETERS)})
    on conflict (id) do update set
        state = 'open', reason = excluded.reason, error_class = excluded.error_class,
        stage = excluded.stage, worker = excluded.worker, attempts = excluded.attempts,
        last_failed_at = excluded.last_failed_at, fingerprint = excluded.fingerprint
""")  # noqa: S608 - column names of our own dataclass
MARK_OPERATIONS = text("""
    insert into operations (id, state, error)
    select * from unnest(
        cast(:ids as text[]), cast(:states as text[]), cast(cast(:errors as text[]) as jsonb[]))
    on conflict (id) do update
        set state = excluded.state, error = excluded.error, updated_at = now()
        where operations.state = 'pending'
""")
HAS_ANY = text("select exists (select from dead_letters)")
COUNT_OPEN = text("select queue, count(*) from dead_letters where state = 'open' group by queue")
SET_STATE = text("""
    update dead_letters set state = :state, acted_at = now(), acted_by = :by, job_id = :job_id
    where id = any(cast(:ids as uuid[]))
""")
SET_CONTENT = text("""
    update dead_letters set routing_key = :routing_key, properties = cast(:properties as jsonb),
                            body = :body, acted_at = now(), acted_by = :by
    where id = :id
""")
SET_PROPERTIES = text("""
    update dead_letters set routing_key = :routing_key, properties = cast(:properties as jsonb),
                            acted_at = now(), acted_by = :by
    where id = :id
""")
READ_BODY = text("select body from dead_letters where id = :id")

BODY_BYTES = func.octet_length(dead_letters.c.body).label("body_bytes")
# All columns but the body, which may be larger than all others together.
SUMMARY_COLUMNS = (
    *(column for column in dead_letters.c if column.name not in ("body", "created_at")),
    dead_letters.c.created_at.label("filed_at"),
    BODY_BYTES,
)
STATES = ("open", "replayed", "discarded")
EQUAL_COLUMNS = ("state", "queue", "fingerprint", "stage", "error_class")
OLDEST_FIRST = (dead_letters.c.first_failed_at, dead_letters.c.id)


async def put_dead_letters(tx: AsyncConnection, dead: Sequence[DeadLetterRow]) -> None:
    """Insert dead letters; one that exists is reopened with its newest reason."""
    rows = sorted(({name: getattr(x, name) for name in COLUMNS} for x in dead), key=_by_id)
    for row in rows:
        row["properties"] = orjson.dumps(row["properties"]).decode()
    await tx.execute(PUT, rows)


async def mark_operations_dead(tx: AsyncConnection, dead: Sequence[DeadLetterRow]) -> None:
    """Set the operations of dead commands to ``dead``; events of upstream systems have none."""
    errors = {
        letter.event_id: orjson.dumps({"code": letter.error_class, "message": letter.reason})
        for letter in dead
        if letter.event_id and has_operation_id_format(letter.event_id)
    }
    if not errors:
        return
    ids = sorted(errors)
    await tx.execute(
        MARK_OPERATIONS,
        {
            "ids": ids,
            "states": ["dead"] * len(ids),
            "errors": [errors[key].decode() for key in ids],
        },
    )


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """A filter by columns; None matches all.

    ``failed_since`` (UTC) is about the last failure, inclusive. ``text`` is part of the source, the
    event id or the reason, in any case.
    """

    state: str | None = None
    queue: str | None = None
    fingerprint: str | None = None
    stage: str | None = None
    error_class: str | None = None
    failed_since: datetime | None = None
    text: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions of a query."""
        given = ((name, getattr(self, name)) for name in EQUAL_COLUMNS)
        found = [dead_letters.c[name] == value for name, value in given if value is not None]
        if self.failed_since is not None:
            found.append(dead_letters.c.last_failed_at >= self.failed_since)
        if self.text is not None:
            found.append(
                or_(
                    *(
                        dead_letters.c[name].icontains(self.text, autoescape=True)
                        for name in SEARCHED_COLUMNS
                    )
                )
            )
        return found


async def find_dead_letters(
    tx: AsyncConnection, first: UUID, last: UUID, *, limit: int = 2, lock: bool = False
) -> list[RowMapping]:
    """Find dead letters in a range of ids, without their bodies; ``lock`` locks the rows."""
    query = select(*SUMMARY_COLUMNS).where(dead_letters.c.id.between(first, last)).limit(limit)
    rows = await tx.execute(query.with_for_update() if lock else query)
    return list(rows.mappings())


async def list_next_dead_letters(
    tx: AsyncConnection,
    matching: DeadLetterFilter,
    *,
    after: tuple[datetime, UUID] | None = None,
    filed_until: datetime | None = None,
    limit: int,
    lock: bool = False,
) -> list[RowMapping]:
    """Read the next dead letters without their bodies, the oldest failure first.

    ``after`` is the ``first_failed_at`` and ``id`` of the last one of the previous call; ``lock``
    locks the rows.
    """
    query = (
        select(*SUMMARY_COLUMNS).where(*matching.conditions()).order_by(*OLDEST_FIRST).limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(*OLDEST_FIRST) > tuple_(*map(literal, after)))
    if filed_until is not None:
        query = query.where(dead_letters.c.created_at <= filed_until)
    rows = await tx.execute(query.with_for_update() if lock else query)
    return list(rows.mappings())


async def list_dead_letters(
    tx: AsyncConnection, matching: DeadLetterFilter, *, page: int, per_page: int
) -> tuple[list[DeadLetterSummary], int]:
    """Read a page (counted from 1) without bodies, the oldest first, and the total number."""
    conditions = matching.conditions()
    counting = select(func.count()).select_from(dead_letters).where(*conditions)
    query = (
        select(*(dead_letters.c[name] for name in DeadLetterSummary.model_fields))
        .where(*conditions)
        .order_by(*OLDEST_FIRST)
        .limit(per_page)
        .offset((page - 1) * per_page)
    )
    total: int = (await tx.execute(counting)).scalar_one()
    rows = await tx.execute(query)
    return [DeadLetterSummary.model_validate(row, from_attributes=True) for row in rows], total


async def read_body(tx: AsyncConnection, dead_letter_id: UUID) -> bytes:
    """Read the body of a dead letter."""
    body: bytes = (await tx.execute(READ_BODY, {"id": dead_letter_id})).scalar_one()
    return body


async def set_state(
    tx: AsyncConnection, ids: Sequence[UUID], state: str, by: str, job_id: UUID | None = None
) -> None:
    """Set the state (``replayed``, ``discarded`` or ``open``), the operator and the job."""
    values = {"ids": list(ids), "state": state, "by": by, "job_id": job_id}
    await tx.execute(SET_STATE, values)


async def lock_dead_letters(tx: AsyncConnection, ids: Sequence[UUID]) -> list[RowMapping]:
    """Lock dead letters by their ids, without their bodies; the oldest failure first."""
    query = select(*SUMMARY_COLUMNS).where(dead_letters.c.id.in_(ids)).order_by(*OLDEST_FIRST)
    return list((await tx.execute(query.with_for_update())).mappings())


async def list_ids(tx: AsyncConnection, matching: DeadLetterFilter, *, limit: int) -> list[UUID]:
    """Read the ids of letters that match, the oldest failure first."""
    query = select(dead_letters.c.id).where(*matching.conditions()).order_by(*OLDEST_FIRST)
    return list((await tx.execute(query.limit(limit))).scalars())


async def set_content(
    tx: AsyncConnection,
    dead_letter_id: UUID,
    by: str,
    *,
    routing_key: str,
    properties: Mapping[str, Any],
    body: bytes | None,
) -> None:
    """Replace routing key, properties and, unless it is None, the body of a dead letter."""
    values = {"id": dead_letter_id, "by": by, "routing_key": routing_key}
    values["properties"] = orjson.dumps(properties).decode()
    if body is None:
        await tx.execute(SET_PROPERTIES, values)
    else:
        await tx.execute(SET_CONTENT, {**values, "body": body})


async def has_dead_letters(tx: AsyncConnection) -> bool:
    """Tell whether any dead letter is on file, in whatever state."""
    return bool((await tx.execute(HAS_ANY)).scalar_one())


async def count_open(tx: AsyncConnection) -> dict[str, int]:
    """Count the open dead letters of each queue."""
    return {row[0]: row[1] for row in await tx.execute(COUNT_OPEN)}


def _by_id(row: dict[str, Any]) -> UUID:
    found: UUID = row["id"]
    return found
