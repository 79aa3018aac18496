"""The note of a group of dead letters: written, kept, audited, never overwritten unseen."""

import re
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.users import User
from tests.workers.ops.conftest import Visit
from tests.workers.ops.letters import put_letter

GROUP = "6afbcb11eb73"
PATH = f"/dead-letters/groups/{GROUP}/note"
VERSION = re.compile(r'name="version" value="([^"]*)"')
NOTE = "select assignee, note, noted_by from dead_letter_groups"


async def rows(engine: AsyncEngine, query: str) -> list[Any]:
    async with engine.begin() as tx:
        found = await tx.execute(text(query))
        return [tuple(row) for row in found] if found.returns_rows else []


@pytest.fixture(autouse=True)
async def one_group(engine: AsyncEngine) -> None:
    await rows(engine, "delete from dead_letters")
    await rows(engine, "delete from dead_letter_groups")
    await put_letter(engine)


async def version(inside: Visit) -> str:
    found = VERSION.search((await inside.get(f"/dead-letters?group={GROUP}"))[1])
    assert found
    return found[1]


async def test_a_note_names_an_assignee_and_stays_when_letters_are_added(
    inside: Visit, engine: AsyncEngine, admin: User
) -> None:
    _, page = await inside.get("/dead-letters")
    assert f'#note">Assign<span class="vh"> {GROUP}</span></a>' in page
    form = {"assignee": " oncall ", "note": "the <CRM>\x00\nrenamed spend"}
    for _ in range(2):
        status, page = await inside.send(PATH, version=await version(inside), **form)
        assert status == 200
        assert "the &lt;CRM&gt; renamed spend" in page
    expected = [("oncall", "the <CRM> renamed spend", admin.email)]
    assert await rows(engine, NOTE) == expected
    letter = await put_letter(engine)
    assert await rows(engine, NOTE) == expected
    _, page = await inside.get(f"/dead-letters/{letter}")
    assert "Assigned to" in page
    assert "the &lt;CRM&gt; renamed spend" in page
    assert "2 open" in page
    audit = f"""
        select action, subject, outcome from audit
        where actor = '{admin.id}' and action = 'dead_letter.note'
    """  # noqa: S608 - a test's
    assert await rows(engine, audit) == 2 * [("dead_letter.note", f"group {GROUP}", "ok")]


async def test_a_note_from_before_another_one_is_kept_in_the_form(
    inside: Visit, engine: AsyncEngine
) -> None:
    old = await version(inside)
    await inside.send(PATH, version=old, assignee="ada", note="mine")
    status, page = await inside.send(PATH, version=old, assignee="grace", note="hers")
    assert status == 409
    assert "the note was changed in the meantime (“ada: mine”" in page
    assert 'value="hers"' in page
    assert [row[:2] for row in await rows(engine, NOTE)] == [("ada", "mine")]
    status, _ = await inside.send(PATH, version=await version(inside), assignee="", note="")
    assert status == 200
    assert [row[:2] for row in await rows(engine, NOTE)] == [("", "")]


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        (PATH, {"note": "x" * 501}, 422),
        (PATH, {"assignee": "x" * 101}, 422),
        ("/dead-letters/groups/nowhere/note", {"note": "x"}, 404),
        ("/dead-letters/groups/%00/note", {"note": "x"}, 404),
        (PATH, {"note": "x", "token": "forged"}, 403),
    ],
    ids=["long note", "long assignee", "no group", "no text", "forged"],
)
async def test_what_is_no_note_of_a_group_is_not_written(
    inside: Visit, engine: AsyncEngine, path: str, fields: dict[str, str], status: int
) -> None:
    assert (await inside.send(path, **fields))[0] == status
    assert await rows(engine, NOTE) == []


async def test_a_read_only_session_writes_no_note(inside: Visit, engine: AsyncEngine) -> None:
    await inside.send("/mode", mode="read-only")
    _, page = await inside.get(f"/dead-letters?group={GROUP}")
    assert "Save note" not in page
    assert "Assign<" not in page
    assert (await inside.send(PATH, note="x"))[0] == 403
    assert await rows(engine, NOTE) == []
