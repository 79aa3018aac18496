"""The list of dead letters: groups by fingerprint, filters, pages by cursor."""

import re
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import now
from infra.storage.dead_letters import set_state
from tests.workers.ops.conftest import Visit
from tests.workers.ops.letters import put_letter

LINK = re.compile(r'href="/dead-letters/([0-9a-f-]{36})"')
NEXT = re.compile(r'href="([^"]*after=[^"]*)">Next')
COUNTED = """
    select fingerprint, state, sum(letters)::int from dead_letter_counts group by 1, 2 order by 1, 2
"""
THERE = "select fingerprint, state, count(*)::int from dead_letters group by 1, 2 order by 1, 2"
GIVE_ANOTHER_FINGERPRINT = "update dead_letters set fingerprint = 'two' where state = 'open'"


DELETE_DISCARDED = "delete from dead_letters where state = 'discarded' and fingerprint <> 'two'"


async def run(engine: AsyncEngine, *statements: str) -> list[tuple[object, ...]]:
    async with engine.begin() as tx:
        for statement in statements:
            found = await tx.execute(text(statement))
        return [tuple(row) for row in found] if found.returns_rows else []


@pytest.fixture(autouse=True)
async def nothing_filed(engine: AsyncEngine) -> None:
    await run(engine, "delete from dead_letters", "delete from dead_letter_groups")


async def test_the_counters_follow_whatever_changes_a_letter(engine: AsyncEngine) -> None:
    ids = [await put_letter(engine, fingerprint="one") for _ in range(3)]
    assert await run(engine, COUNTED) == [("one", "open", 3)]
    async with engine.begin() as tx:
        await set_state(tx, ids[:2], "discarded", "ada")
    await put_letter(engine, id=ids[0], fingerprint="two")
    for change in (GIVE_ANOTHER_FINGERPRINT, DELETE_DISCARDED):
        assert await run(engine, COUNTED) == await run(engine, THERE)
        await run(engine, change)
    assert await run(engine, COUNTED) == [("two", "open", 2)]
    await run(engine, "delete from dead_letters")
    assert await run(engine, "select * from dead_letter_counts") == []


async def test_letters_of_one_cause_are_one_group_with_count_reason_and_note(
    inside: Visit, engine: AsyncEngine
) -> None:
    for number in range(3):
        await put_letter(engine, fingerprint="aaaa", event_id=f"e-{number}")
    await put_letter(engine, fingerprint="bbbb", error_class="POISON_MESSAGE", stage="delivery")
    await run(
        engine,
        "insert into dead_letter_groups (fingerprint, assignee, note, noted_by)"
        " values ('aaaa', 'ada', 'the CRM renamed spend', 'ada')",
    )
    status, page = await inside.get("/dead-letters")
    assert status == 200
    assert "4 open, in 2 groups" in page
    assert "the CRM renamed spend" in page
    assert "Failures by hour in the last 24 hours, 3 in all" in page
    assert len(LINK.findall(page)) == 4
    _, page = await inside.get("/dead-letters?group=bbbb")
    assert "Letters of bbbb" in page
    assert len(LINK.findall(page)) == 1


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=all", 4),
        ("state=discarded", 1),
        ("state=nonsense", 3),
        ("queue=sync.claude", 1),
        ("queue=all", 3),
        ("stage=handler", 1),
        ("code=PLATFORM_FAILED", 1),
        ("since=hour", 2),
        ("since=week", 3),
        ("text=URN:EXAMPLE", 1),
        ("text=e%255", 1),
        ("text=%25", 1),
        ("text=%00", 3),
        ("text=nowhere", 0),
        ("group=aaaa&after=nonsense", 2),
        ("group=aaaa&code=PLATFORM_FAILED", 0),
        ("after=9999-12-31T00:00:00%2B00:00_" + "0" * 32, 0),
    ],
)
async def test_a_filter_shows_the_letters_that_match(
    inside: Visit, engine: AsyncEngine, query: str, expected: int
) -> None:
    old = now() - timedelta(days=2)
    await put_letter(engine, fingerprint="aaaa", event_id="e%5", source="urn:example:crm")
    await put_letter(engine, fingerprint="aaaa", event_id="e5")
    await put_letter(
        engine,
        fingerprint="bbbb",
        queue="sync.claude",
        stage="handler",
        error_class="PLATFORM_FAILED",
        first_failed_at=old,
        last_failed_at=old,
    )
    gone = await put_letter(engine, fingerprint="cccc")
    async with engine.begin() as tx:
        await set_state(tx, [gone], "discarded", "ada")
    status, page = await inside.get(f"/dead-letters?{query}")
    assert status == 200
    assert len(LINK.findall(page)) == expected


async def test_pages_by_cursor_show_each_letter_once(inside: Visit, engine: AsyncEngine) -> None:
    moment = now() - timedelta(minutes=1)
    filed = {await put_letter(engine, first_failed_at=moment) for _ in range(60)}
    seen: list[UUID] = []
    address = "/dead-letters?queue=metrics.record"
    while address:
        _, page = await inside.get(address)
        seen += map(UUID, LINK.findall(page))
        following = NEXT.search(page)
        address = following[1].replace("&amp;", "&") if following else ""
    assert len(seen) == 60
    assert set(seen) == filed


async def test_a_strangers_text_is_escaped(inside: Visit, engine: AsyncEngine) -> None:
    await put_letter(engine, reason="<script>\x1b\u202e", event_id='"><img>', source="\u200b")
    _, page = await inside.get("/dead-letters")
    assert "<script>\x1b" not in page
    assert "&lt;script&gt;" in page
    assert '<span class="ctl">\\x1b</span><span class="ctl">\\u202e</span>' in page
    assert "<img>" not in page


async def test_without_letters_the_page_says_so(inside: Visit) -> None:
    _, page = await inside.get("/dead-letters")
    assert "No dead letter is open" in page
    assert "Nothing is open" in page
