"""Leases on campaigns: at most one worker pushes a campaign to its platform at a time.

A lease is taken and released in short transactions; none is open during the calls to the platform.
Its end, by the database's clock, identifies it, so a worker that was suspended beyond the end finds
that its lease is lost when it releases it. ``leased_until`` stays set afterwards: from the first
lease on, the platform may hold the campaign.
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
    """The right to push a campaign until ``until`` (UTC)."""

    campaign_id: UUID
    until: datetime


async def take_leases(
    tx: AsyncConnection, ids: Collection[UUID], seconds: float
) -> dict[UUID, Lease]:
    """Lease those of these locked campaigns that no worker has leased, for ``seconds``."""
    if not ids:
        return {}
    rows = await tx.execute(TAKE, {"ids": list(ids), "seconds": seconds})
    return {row[0]: Lease(*row) for row in rows}


async def release_leases(tx: AsyncConnection, leases: Sequence[Lease]) -> set[UUID]:
    """Release leases; returns the campaigns whose lease no other worker had taken."""
    if not leases:
        return set()
    ids, ends = [lease.campaign_id for lease in leases], [lease.until for lease in leases]
    rows = await tx.execute(RELEASE, {"ids": ids, "ends": ends})
    return {row[0] for row in rows}
