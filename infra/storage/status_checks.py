"""When platforms were asked for the status of campaigns, so that none is asked too often.

``status_asked_at`` is set before a question, ``status_answered_at`` to the time of the newest
question that has an answer, both by the database's clock. So all workers share them, and a
question whose worker dies is asked again.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

READ = text("""
    select id, status_answered_at,
        extract(epoch from status_asked_at - clock_timestamp())::float + :rest as seconds
    from campaigns where id = any(cast(:ids as uuid[]))
""")
ASK = text("""
    update campaigns set status_asked_at = clock_timestamp()
    where id = any(cast(:ids as uuid[])) returning id, status_asked_at
""")
ANSWER = text("""
    with answered as materialized (
        select c.id, r.asked
        from unnest(cast(:ids as uuid[]), cast(:times as timestamptz[])) as r (id, asked)
        join campaigns as c on c.id = r.id
        order by c.id for update of c
    )
    update campaigns as c set status_answered_at = greatest(c.status_answered_at, answered.asked)
    from answered where c.id = answered.id
""")


class StatusCheckTimes(NamedTuple):
    """When a question was asked that has an answer, and the seconds until the next may be."""

    answered_at: datetime | None
    seconds: float


async def read_status_checks(
    tx: AsyncConnection, ids: Collection[UUID], rest_seconds: float
) -> Mapping[UUID, StatusCheckTimes]:
    """Read the state of campaigns that this transaction has locked.

    ``rest_seconds`` lie between two questions; the wait is 0 where it is over.
    """
    rows = await tx.execute(READ, {"ids": list(ids), "rest": rest_seconds})
    return {
        row.id: StatusCheckTimes(row.status_answered_at, max(row.seconds or 0.0, 0.0))
        for row in rows
    }


async def mark_status_asked(tx: AsyncConnection, ids: Collection[UUID]) -> Mapping[UUID, datetime]:
    """Note that these campaigns, which this transaction has locked, are asked about now."""
    if not ids:
        return {}
    return {row[0]: row[1] for row in await tx.execute(ASK, {"ids": list(ids)})}


async def mark_status_answered(tx: AsyncConnection, asked: Mapping[UUID, datetime]) -> None:
    """Note that the questions that were asked at these times have answers."""
    if asked:
        times = [asked[campaign_id] for campaign_id in asked]
        await tx.execute(ANSWER, {"ids": list(asked), "times": times})
