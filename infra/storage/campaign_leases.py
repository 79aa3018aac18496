"""Leases on campaigns: who pushes one to its platform, so that pushes do not cross.

A lease is taken and given back in short transactions, with none open while the platform is
spoken to. Its end, by the database's clock, names it: a worker that was frozen beyond it
finds out when it gives the lease back. A lease leaves its trace in ``leased_until`` for
ever, because the platform may know the campaign since then.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

TAKE = text("""
    update campaigns as c
    set leased_until = clock_timestamp() + make_interval(secs => cast(:seconds as float))
    where c.id = any(cast(:ids as uuid[]))
        and (c.leased_until is null or c.leased_until < clock_timestamp())
    returning c.id, c.leased_until
""")
RELEASE = text("""
    with mine as materialized (
        select c.id
        from unnest(cast(:ids as uuid[]), cast(:ends as timestamptz[])) as r (id, until)
        join campaigns as c on c.id = r.id and c.leased_until = r.until
        order by c.id for update of c
    )
    update campaigns as c set leased_until = clock_timestamp() from mine where c.id = mine.id
    returning c.id
""")


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to push a campaign until a time."""

    campaign_id: UUID
    until: datetime


async def take_leases(
    tx: AsyncConnection, ids: Collection[UUID], seconds: float
) -> dict[UUID, Lease]:
    """Lease those campaigns that nobody holds; this transaction has locked their rows."""
    if not ids:
        return {}
    rows = await tx.execute(TAKE, {"ids": list(ids), "seconds": seconds})
    return {row[0]: Lease(*row) for row in rows}


async def release_leases(tx: AsyncConnection, leases: Sequence[Lease]) -> set[UUID]:
    """Give leases back; tells the campaigns whose lease nobody else had taken over."""
    if not leases:
        return set()
    ids, ends = [lease.campaign_id for lease in leases], [lease.until for lease in leases]
    rows = await tx.execute(RELEASE, {"ids": ids, "ends": ends})
    return {row[0] for row in rows}
