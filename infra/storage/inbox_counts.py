"""Counts what the handlers have handled lately, by queue, from the marks of the inbox."""

from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

HANDLED = text("""
    select consumer, count(*) as number from inbox
    where handled_at > now() - make_interval(secs => :seconds)
    group by consumer
""")


async def count_handled(tx: AsyncConnection, seconds: float) -> Mapping[str, int]:
    """Count the events that were handled in the last ``seconds``, by queue; none is absent."""
    rows = await tx.execute(HANDLED, {"seconds": seconds})
    return {row.consumer: row.number for row in rows}
