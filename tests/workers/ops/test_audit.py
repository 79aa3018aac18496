"""The page of the audit log: filters, pages by cursor, texts of strangers."""

from datetime import timedelta
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import now
from infra.storage.tables import audit
from schemas.users import User
from tests.workers.ops.conftest import Visit
from workers.ops.pages import audit as audit_page

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e\"'><b>"


async def write_entries(engine: AsyncEngine, *entries: dict[str, object]) -> None:
    """Write entries; what is not given is the same in all."""
    usual = {
        "action": "queue.pause",
        "outcome": "ok",
        "actor": None,
        "subject": None,
        "address": None,
        "device": None,
        "correlation_id": None,
    }
    async with engine.begin() as tx:
        for entry in entries:
            await tx.execute(insert(audit).values({"id": uuid4(), "at": now(), **usual, **entry}))


def path_to(**query: str) -> str:
    return f"/audit?{urlencode(query)}"


async def test_entries_are_found_by_each_filter(
    inside: Visit, admin: User, engine: AsyncEngine
) -> None:
    mark, old = f"s-{uuid4().hex}", now() - timedelta(days=9)
    mine, other = f"{mark}-mine", f"{mark}-other"
    await write_entries(
        engine,
        {"subject": mine, "actor": admin.id, "action": mark, "outcome": mark, "address": "::1"},
        {"subject": other, "at": old},
    )
    day = f"{now() - timedelta(days=5):%Y-%m-%d}"
    for query, found in (
        ({"subject": mine}, {mine}),
        ({"action": mark}, {mine}),
        ({"outcome": mark}, {mine}),
        ({"address": "::1"}, {mine}),
        ({"actor": admin.email.upper(), "action": mark}, {mine}),
        ({"actor": str(admin.id)}, {mine}),
        ({"subject": other, "to": day}, {other}),
        ({"subject": other, "from": day}, set()),
    ):
        status, page = await inside.get(path_to(**query))
        assert status == 200, page
        shown = {name for name in (mine, other) if f"<bdi>{name}" in page}
        assert shown == found, query
        assert (admin.email in page.partition("</header>")[2]) == (
            mine in found
        ) or "actor" in query


async def test_pages_go_on_where_the_one_before_ended(
    inside: Visit, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_page, "PER_PAGE", 2)
    action, at = uuid4().hex, now()
    names = [f"n-{uuid4().hex}" for _ in range(5)]
    await write_entries(engine, *({"action": action, "subject": name, "at": at} for name in names))
    path, seen = path_to(action=action), list[str]()
    for _ in range(3):
        _, page = await inside.get(path)
        seen += [name for name in names if name in page]
        path = page.partition('">Next')[0].rpartition('href="')[2].replace("&amp;", "&")
    assert sorted(seen) == sorted(names)
    assert '">Next' not in page


async def test_hostile_text_in_every_column_is_shown_and_never_run(
    inside: Visit, engine: AsyncEngine
) -> None:
    columns = ("action", "outcome", "subject", "address", "device", "correlation_id")
    await write_entries(engine, {"actor": uuid4(), **dict.fromkeys(columns, HOSTILE)})
    status, page = await inside.get("/audit")
    assert status == 200
    assert page.count("&lt;script&gt;alert(1)") >= 5
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page


@pytest.mark.parametrize("name", ["action", "subject", "outcome", "address", "after"])
@pytest.mark.parametrize("value", [HOSTILE, "a\0b", "1-2", "9" * 40])
async def test_filters_may_have_any_text(inside: Visit, name: str, value: str) -> None:
    status, page = await inside.get(path_to(**{name: value}))
    assert status == 200, page
    assert "<script>alert" not in page


@pytest.mark.parametrize("actor", ["nobody@example.com", HOSTILE, "a\0b"])
async def test_an_actor_that_does_not_exist_is_said_beside_the_field(
    inside: Visit, actor: str
) -> None:
    status, page = await inside.get(path_to(actor=actor))
    assert status == 422
    assert "No account has this e-mail address or id." in page
