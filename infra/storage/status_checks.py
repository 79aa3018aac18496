"""Queries for the times of status checks, which limit how often a platform is asked.

``status_asked_at`` is set before a check, ``status_answered_at`` to the time of the newest check
with an answer, both by the database's clock. All workers share them, and a check whose worker died
is repeated.
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
    """The time (UTC) of the newest answered check, and the seconds until the next may begin."""

    answered_at: datetime | None
    seconds: float


async def read_status_checks(
    tx: AsyncConnection, ids: Collection[UUID], rest_seconds: float
) -> Mapping[UUID, StatusCheckTimes]:
    """Read the times of campaigns that this transaction has locked.

    Two checks of a campaign are at least ``rest_seconds`` apart; ``seconds`` is 0 when it is due.
    """
    rows = await tx.execute(READ, {"ids": list(ids), "rest": rest_seconds})
    return {
        row.id: StatusCheckTimes(row.status_answered_at, max(row.seconds or 0.0, 0.0))
        for row in rows
    }


async def mark_status_asked(tx: AsyncConnection, ids: Collection[UUID]) -> Mapping[UUID, datetime]:
    """Set the time of the check of these locked campaigns to now and return it (UTC)."""
    if not ids:
        return {}
    return {row[0]: row[1] for row in await tx.execute(ASK, {"ids": list(ids)})}


async def mark_status_answered(tx: AsyncConnection, asked: Mapping[UUID, datetime]) -> None:
    """Record that the checks of these times (UTC), by campaign, have answers."""
    if asked:
        times = [asked[campaign_id] for campaign_id in asked]
        await tx.execute(ANSWER, {"ids": list(asked), "times": times})
