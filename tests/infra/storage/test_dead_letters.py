"""What filing writes beside the letters, and how letters are found among many."""

from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.security.operation_id import create_operation_id
from infra.storage.dead_letters import (
    DeadLetterFilter,
    find_dead_letters,
    list_next_dead_letters,
    mark_operations_dead,
)
from tests.workers.ingress.api.test_dead_letters import make_dead_letter, rows

KEY = b"0123456789abcdef"
MANY = text("""
    insert into dead_letters (id, queue, routing_key, body, properties, reason, error_class, stage,
        worker, attempts, first_failed_at, last_failed_at, fingerprint)
    select gen_random_uuid(), 'q' || n % 5, 'k', '', '{}', 'r', 'c', 'decode', 'w', 1,
        now() - n * interval '1 second', now(), 'f' || n % 50
    from generate_series(1, 20000) as n
""")
SCANS = text("select seq_scan from pg_stat_xact_user_tables where relname = 'dead_letters'")


async def test_a_dead_upstream_event_has_no_operation(engine: AsyncEngine) -> None:
    operation = create_operation_id(KEY, uuid4())
    letters = [
        make_dead_letter(1, event_id="w-1"),
        make_dead_letter(2, event_id=operation),
        make_dead_letter(3, event_id=None),
    ]
    async with engine.begin() as tx:
        await mark_operations_dead(tx, letters)
    assert await rows(engine, "select id, state from operations") == [(operation, "dead")]


async def test_each_listing_and_an_id_read_an_index(engine: AsyncEngine) -> None:
    wanted = [
        DeadLetterFilter(),
        DeadLetterFilter("open"),
        DeadLetterFilter("open", "q1"),
        DeadLetterFilter(None, "q1"),
        DeadLetterFilter("open", None, "f1"),
        DeadLetterFilter("open", "q1", "f1"),
        DeadLetterFilter("discarded"),
    ]
    async with engine.begin() as tx:
        await tx.execute(MANY)
        await tx.execute(text("analyze dead_letters"))
        await tx.execute(text("set local enable_seqscan = off"))  # only where no index serves
        before = (await tx.execute(SCANS)).scalar_one()
        for one in wanted:
            page = await list_next_dead_letters(tx, one, limit=50)
            if page:
                last = (page[-1]["first_failed_at"], page[-1]["id"])
                await list_next_dead_letters(tx, one, after=last, limit=50, lock=True)
        (found,) = await find_dead_letters(tx, last[1], last[1], lock=True)
        assert found["id"] == last[1]
        assert (await tx.execute(SCANS)).scalar_one() == before
