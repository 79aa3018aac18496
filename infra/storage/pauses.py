"""Queries for pauses: queues, platforms and accounts that are not worked on.

A person pauses any of them; the queue circuit breaker (``infra.messaging.queue_breaker``) pauses a
queue for one version of the code, which is called a stop. Consumers look once a second
(``infra.storage.pause_registry``). The ingress accepts as ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from sqlalchemy import ColumnElement, delete, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.tables import pauses
from schemas.escaping import escape

REASON_LENGTH = 500  # characters
NAME_LENGTH = 100  # characters of who paused it

PauseKind: TypeAlias = Literal["queue", "platform", "account"]

INSERT = text("""
    insert into pauses (kind, name, account, reason, paused_by)
    values (:kind, :name, :account, :reason, :paused_by)
    on conflict (kind, name, account) do update
    set reason = excluded.reason, paused_by = excluded.paused_by, paused_at = now(),
        code_version = null
    where pauses.code_version is not null
    returning name
""")
# A person's pause stays as it is; of another stop the time stays.
STOP = text("""
    insert into pauses (kind, name, reason, paused_by, code_version)
    values ('queue', :queue, :reason, :paused_by, :version)
    on conflict (kind, name, account) do update
    set reason = excluded.reason, paused_by = excluded.paused_by,
        code_version = excluded.code_version
    where pauses.code_version is not null
""")
LIFT_STOP = text("""
    delete from pauses where kind = 'queue' and name = :queue and code_version <> :version
    returning name
""")


@dataclass(frozen=True, slots=True)
class PauseTarget:
    """What is paused: a queue, a platform, or the account of a user (its id) at a platform."""

    kind: PauseKind
    name: str
    account: str = ""

    def __str__(self) -> str:
        """Write it as people do: ``metrics.record``, ``claude``, ``claude:<account id>``."""
        return f"{self.name}:{self.account}" if self.account else self.name


@dataclass(frozen=True, slots=True)
class PauseRow:
    """A pause: why, by whom (a person, a command or a host), since when (UTC).

    ``code_version`` is the version of the code that the queue circuit breaker has stopped; None
    if a person has paused it.
    """

    kind: PauseKind
    name: str
    account: str
    reason: str
    paused_by: str
    paused_at: datetime
    code_version: str | None

    @property
    def target(self) -> PauseTarget:
        """What is paused."""
        return PauseTarget(self.kind, self.name, self.account)


async def pause(tx: AsyncConnection, target: PauseTarget, *, reason: str, paused_by: str) -> bool:
    """Pause something; False when a person has paused it already, which stays as it is.

    What the queue circuit breaker has stopped becomes a pause, which no other code lifts. Reason
    and name are escaped and cut.
    """
    row = {"kind": target.kind, "name": target.name, "account": target.account}
    by = {"reason": escape(reason, REASON_LENGTH), "paused_by": escape(paused_by, NAME_LENGTH)}
    return (await tx.execute(INSERT, row | by)).one_or_none() is not None


async def stop_queue(
    tx: AsyncConnection, queue: str, *, reason: str, version: str, worker: str
) -> None:
    """Stop a queue for a version of the code; a person's pause stays as it is."""
    row = {"queue": queue, "reason": escape(reason, REASON_LENGTH), "version": version}
    await tx.execute(STOP, row | {"paused_by": escape(worker, NAME_LENGTH)})


async def lift_stop(tx: AsyncConnection, queue: str, version: str) -> bool:
    """Lift the stop of a queue for other code than ``version``; False when there is none."""
    lifted = await tx.execute(LIFT_STOP, {"queue": queue, "version": version})
    return lifted.one_or_none() is not None


async def delete_pause(tx: AsyncConnection, target: PauseTarget) -> bool:
    """Delete a pause or stop; False when there is none.

    ``infra.messaging.pause_commands`` calls this, and gives again what an account has missed.
    """
    return (await tx.execute(delete(pauses).where(*_matches(target)))).rowcount > 0


async def find_pause(tx: AsyncConnection, target: PauseTarget) -> PauseRow | None:
    """Find a pause or stop; None when there is none."""
    row = (await tx.execute(select(pauses).where(*_matches(target)))).one_or_none()
    return None if row is None else PauseRow(**row._mapping)  # noqa: SLF001 - public, by its docs


async def list_pauses(tx: AsyncConnection) -> Sequence[PauseRow]:
    """List all pauses and stops by kind and name."""
    order = (pauses.c.kind, pauses.c.name, pauses.c.account)
    rows = await tx.execute(select(pauses).order_by(*order))
    return [PauseRow(**row._mapping) for row in rows]  # noqa: SLF001 - public, by its docs


def _matches(target: PauseTarget) -> tuple[ColumnElement[bool], ...]:
    return (
        pauses.c.kind == target.kind,
        pauses.c.name == target.name,
        pauses.c.account == target.account,
    )
