"""Dead letters in Postgres: filed, looked at, mended, replayed, discarded."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import RowMapping, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.letters import Letter
from infra.tables import dead_letters
from schemas.dead_letters import LetterEntry

COLUMNS = tuple(field.name for field in fields(Letter))
_PLACES = ("cast(:properties as jsonb)" if name == "properties" else f":{name}" for name in COLUMNS)

# A message that dies again unchanged is the same letter, and open again.
FILE = text(f"""
    insert into dead_letters ({", ".join(COLUMNS)})
    values ({", ".join(_PLACES)})
    on conflict (id) do update set
        state = 'open', reason = excluded.reason, error_class = excluded.error_class,
        place = excluded.place, worker = excluded.worker, attempts = excluded.attempts,
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
SELECT = """
    select *, created_at as filed_at from dead_letters
    where (cast(:state as text) is null or state = :state)
      and (cast(:queue as text) is null or queue = :queue)
      and (cast(:fingerprint as text) is null or fingerprint = :fingerprint)
      and (cast(:prefix as text) is null or cast(id as text) like :prefix)
      and (cast(:largest as int) is null or octet_length(body) <= :largest)
    order by first_failed_at, id limit :most
"""
FIND = text(SELECT)
FIND_FOR_UPDATE = text(f"{SELECT} for update")
SET_STATE = text("""
    update dead_letters set state = :state, acted_at = now(), acted_by = :by
    where id = any(cast(:ids as uuid[]))
""")
SET_BODY = text("""
    update dead_letters set body = :body, acted_at = now(), acted_by = :by where id = :id
""")
COUNT_OPEN = text("select queue, count(*) from dead_letters where state = 'open' group by queue")

ANY_NUMBER = 1_000_000


async def file_letters(tx: AsyncConnection, letters: Sequence[Letter]) -> None:
    """File letters; one that is filed already is opened again with its newest reason."""
    rows = sorted(({name: getattr(x, name) for name in COLUMNS} for x in letters), key=_by_id)
    for row in rows:
        row["properties"] = orjson.dumps(row["properties"]).decode()
    await tx.execute(FILE, rows)


async def mark_operations_dead(tx: AsyncConnection, letters: Sequence[Letter]) -> None:
    """Let the operations whose events died say so."""
    errors = {
        letter.event_id: orjson.dumps({"code": letter.error_class, "message": letter.reason})
        for letter in letters
        if letter.event_id
    }
    ids = sorted(errors)
    await tx.execute(
        MARK_OPERATIONS,
        {
            "ids": ids,
            "states": ["dead"] * len(ids),
            "errors": [errors[key].decode() for key in ids],
        },
    )


async def find_letters(
    tx: AsyncConnection,
    *,
    state: str | None = None,
    queue: str | None = None,
    fingerprint: str | None = None,
    prefix: str | None = None,
    largest: int | None = None,
    lock: bool = False,
    most: int = ANY_NUMBER,
) -> list[RowMapping]:
    """Find letters, the oldest failure first.

    ``prefix`` is the beginning of an id, ``largest`` the size of the largest body in bytes.
    """
    asked = {
        "state": state,
        "queue": queue,
        "fingerprint": fingerprint,
        "prefix": None if prefix is None else f"{prefix}%",
        "largest": largest,
        "most": most,
    }
    return list((await tx.execute(FIND_FOR_UPDATE if lock else FIND, asked)).mappings())


async def list_letters(
    tx: AsyncConnection,
    *,
    state: str | None = None,
    queue: str | None = None,
    fingerprint: str | None = None,
    page: int,
    per_page: int,
) -> tuple[list[LetterEntry], int]:
    """Read a page (counted from 1) without bodies, the oldest first, and how many there are."""
    wanted = {"state": state, "queue": queue, "fingerprint": fingerprint}
    conditions = [dead_letters.c[name] == v for name, v in wanted.items() if v is not None]
    counting = select(func.count()).select_from(dead_letters).where(*conditions)
    query = (
        select(*(dead_letters.c[name] for name in LetterEntry.model_fields))
        .where(*conditions)
        .order_by(dead_letters.c.first_failed_at, dead_letters.c.id)
        .limit(per_page)
        .offset((page - 1) * per_page)
    )
    total: int = (await tx.execute(counting)).scalar_one()
    rows = await tx.execute(query)
    return [LetterEntry.model_validate(row, from_attributes=True) for row in rows], total


async def set_state(tx: AsyncConnection, ids: Sequence[UUID], state: str, by: str) -> None:
    """Note what a person has done with letters: ``replayed``, ``discarded``, ``open``."""
    await tx.execute(SET_STATE, {"ids": list(ids), "state": state, "by": by})


async def set_body(tx: AsyncConnection, letter: UUID, body: bytes, by: str) -> None:
    """Replace a letter's body by the mended one."""
    await tx.execute(SET_BODY, {"id": letter, "body": body, "by": by})


async def count_open(tx: AsyncConnection) -> dict[str, int]:
    """Count the open letters of each queue."""
    return {row[0]: row[1] for row in await tx.execute(COUNT_OPEN)}


def _by_id(row: dict[str, Any]) -> UUID:
    found: UUID = row["id"]
    return found
