"""Dead letters in Postgres: filed, looked at, mended, replayed, discarded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, RowMapping, func, literal, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.security.operation_id import has_operation_id_format
from infra.storage.tables import dead_letters
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

    @property
    def time(self) -> datetime:
        """Time of the last failure (UTC)."""
        return self.last_failed_at


COLUMNS = tuple(field.name for field in fields(DeadLetterRow))
_PARAMETERS = (
    "cast(:properties as jsonb)" if name == "properties" else f":{name}" for name in COLUMNS
)

# A message that dies again unchanged is the same letter, and open again.
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
COUNT_OPEN = text("select queue, count(*) from dead_letters where state = 'open' group by queue")
SET_STATE = text("""
    update dead_letters set state = :state, acted_at = now(), acted_by = :by
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
DELETE_OLD = text("""
    delete from dead_letters where id in (
        select id from dead_letters
        where state <> 'open' and acted_at < now() - make_interval(days => :days)
        limit :most for update skip locked
    )
""")

BODY_BYTES = func.octet_length(dead_letters.c.body).label("body_bytes")
# All but the body, which may be larger than everything else together.
SUMMARY_COLUMNS = (
    *(column for column in dead_letters.c if column.name not in ("body", "created_at")),
    dead_letters.c.created_at.label("filed_at"),
    BODY_BYTES,
)
OLDEST_FIRST = (dead_letters.c.first_failed_at, dead_letters.c.id)


async def put_dead_letters(tx: AsyncConnection, letters: Sequence[DeadLetterRow]) -> None:
    """File letters; one that is filed already is opened again with its newest reason."""
    rows = sorted(({name: getattr(x, name) for name in COLUMNS} for x in letters), key=_by_id)
    for row in rows:
        row["properties"] = orjson.dumps(row["properties"]).decode()
    await tx.execute(PUT, rows)


async def mark_operations_dead(tx: AsyncConnection, letters: Sequence[DeadLetterRow]) -> None:
    """Let the operations whose events died say so; what upstream systems publish is none."""
    errors = {
        letter.event_id: orjson.dumps({"code": letter.error_class, "message": letter.reason})
        for letter in letters
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
    """Which letters are meant: those of a state, a queue, a fingerprint; None is any."""

    state: str | None = None
    queue: str | None = None
    fingerprint: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Write it as conditions of a query."""
        given = ((name, getattr(self, name)) for name in ("state", "queue", "fingerprint"))
        return [dead_letters.c[name] == value for name, value in given if value is not None]


async def find_dead_letters(
    tx: AsyncConnection, first: UUID, last: UUID, *, most: int = 2, lock: bool = False
) -> list[RowMapping]:
    """Find letters by a range of ids, without their bodies; ``lock`` keeps others from them."""
    query = select(*SUMMARY_COLUMNS).where(dead_letters.c.id.between(first, last)).limit(most)
    rows = await tx.execute(query.with_for_update() if lock else query)
    return list(rows.mappings())


async def list_next_dead_letters(
    tx: AsyncConnection,
    wanted: DeadLetterFilter,
    *,
    after: tuple[datetime, UUID] | None = None,
    filed_until: datetime | None = None,
    most: int,
    lock: bool = False,
) -> list[RowMapping]:
    """Read the next letters without their bodies, the oldest failure first.

    ``after`` is the ``first_failed_at`` and ``id`` of the last one that was read.
    """
    query = select(*SUMMARY_COLUMNS).where(*wanted.conditions()).order_by(*OLDEST_FIRST).limit(most)
    if after is not None:
        query = query.where(tuple_(*OLDEST_FIRST) > tuple_(*map(literal, after)))
    if filed_until is not None:
        query = query.where(dead_letters.c.created_at <= filed_until)
    rows = await tx.execute(query.with_for_update() if lock else query)
    return list(rows.mappings())


async def list_dead_letters(
    tx: AsyncConnection, wanted: DeadLetterFilter, *, page: int, per_page: int
) -> tuple[list[DeadLetterSummary], int]:
    """Read a page (counted from 1) without bodies, the oldest first, and how many there are."""
    conditions = wanted.conditions()
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


async def read_body(tx: AsyncConnection, letter: UUID) -> bytes:
    """Read a letter's body."""
    body: bytes = (await tx.execute(READ_BODY, {"id": letter})).scalar_one()
    return body


async def set_state(tx: AsyncConnection, ids: Sequence[UUID], state: str, by: str) -> None:
    """Note what a person has done with letters: ``replayed``, ``discarded``, ``open``."""
    await tx.execute(SET_STATE, {"ids": list(ids), "state": state, "by": by})


async def set_content(
    tx: AsyncConnection,
    letter: UUID,
    by: str,
    *,
    routing_key: str,
    properties: Mapping[str, Any],
    body: bytes | None,
) -> None:
    """Replace what a letter says; its body stays as it is where ``body`` is None."""
    values = {"id": letter, "by": by, "routing_key": routing_key}
    values["properties"] = orjson.dumps(properties).decode()
    if body is None:
        await tx.execute(SET_PROPERTIES, values)
    else:
        await tx.execute(SET_CONTENT, {**values, "body": body})


async def delete_old_dead_letters(tx: AsyncConnection, days: int, most: int = 1000) -> int:
    """Delete letters that were replayed or discarded ``days`` ago; tells how many."""
    return (await tx.execute(DELETE_OLD, {"days": days, "most": most})).rowcount


async def count_open(tx: AsyncConnection) -> dict[str, int]:
    """Count the open letters of each queue."""
    return {row[0]: row[1] for row in await tx.execute(COUNT_OPEN)}


def _by_id(row: dict[str, Any]) -> UUID:
    found: UUID = row["id"]
    return found
