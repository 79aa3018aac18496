"""Counts the rows of tables that grow: small ones exactly, large ones as Postgres estimates them.

The estimate is that of the last VACUUM or ANALYZE: ``pg_class.reltuples``, and for a state its
share among ``pg_stats.most_common_freqs`` (https://www.postgresql.org/docs/current/view-pg-stats.html).
Counting a table of many million rows every few seconds would take longer than that.
"""

from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

EXACT_BYTES = 4 * 1024 * 1024  # a larger table is estimated
OPERATION_STATES = ("pending", "done", "refused", "dead")


def _count(table: str) -> str:
    return f"""
        select '{table}' as name, case when pg_relation_size('{table}') <= :exact
            then (select count(*) from {table})
            else (select greatest(reltuples, 0) from pg_class where oid = '{table}'::regclass)
        end as rows"""  # noqa: S608 - constants


def _count_state(state: str) -> str:
    return f"""
        select 'operations {state}' as name, case when pg_relation_size('operations') <= :exact
            then (select count(*) from operations where state = '{state}')
            else (select greatest(c.reltuples, 0) * coalesce((
                select share from pg_stats as s,
                    unnest(s.most_common_vals::text::text[], s.most_common_freqs) as m (val, share)
                where s.schemaname = current_schema and s.tablename = 'operations'
                    and s.attname = 'state' and m.val = '{state}'), 0)
                from pg_class as c where c.oid = 'operations'::regclass)
        end as rows"""  # noqa: S608 - constants


ROWS = text(
    " union all ".join((*map(_count, ("inbox", "audit")), *map(_count_state, OPERATION_STATES)))
)


async def count_rows(connection: AsyncConnection, exact: int = EXACT_BYTES) -> Mapping[str, int]:
    """Count ``inbox``, ``audit`` and ``operations <state>``; up to ``exact`` bytes exactly."""
    rows = await connection.execute(ROWS, {"exact": exact})
    return {row.name: int(row.rows) for row in rows}
