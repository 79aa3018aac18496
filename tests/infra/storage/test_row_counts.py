"""The rows of tables: counted while they are few, estimated from Postgres's statistics after."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.storage.row_counts import count_rows

FILL = """
    insert into operations (id, state)
    select 'op-' || n, case when n % 4 = 0 then 'dead' else 'done' end
    from generate_series(1, 4000) as n
"""
MARK = """
    insert into inbox (consumer, key, digest)
    select 'q', gen_random_uuid(), gen_random_uuid() from generate_series(1, 300)
"""


async def test_small_tables_are_counted(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        await tx.execute(text(FILL))
        await tx.execute(text(MARK))

    async with engine.connect() as connection:
        rows = await count_rows(connection)

    assert rows == {
        "inbox": 300,
        "audit": 0,
        "operations pending": 0,
        "operations done": 3000,
        "operations refused": 0,
        "operations dead": 1000,
    }


async def test_large_tables_are_estimated_by_state(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        await tx.execute(text(FILL))
        await tx.execute(text(MARK))
    async with engine.connect() as connection:
        await connection.execute(text("analyze operations, inbox"))
        rows = await count_rows(connection, exact=-1)

    assert rows["inbox"] == pytest.approx(300, rel=0.1)
    assert rows["operations done"] == pytest.approx(3000, rel=0.1)
    assert rows["operations dead"] == pytest.approx(1000, rel=0.1)
    assert rows["operations refused"] == 0


async def test_a_large_table_without_statistics_is_0_and_no_error(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        rows = await count_rows(connection, exact=-1)

    assert min(rows.values()) >= 0
