"""The list of events, the field that finds a page by an id, and the list of operations."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import now
from infra.errors import Permanent
from infra.messaging.context import Context
from infra.resources import Resources
from infra.security.operation_id import create_operation_id
from infra.settings import Settings
from infra.storage.operations import put_operations
from schemas.operations import Operation, OperationError
from schemas.users import User
from tests.infra.commands.test_dead_letters import filing_dead_letters
from tests.infra.indexing import find_outcome, indexed, indexing
from tests.infra.ledger import consuming, create, publish, report
from tests.workers.ops.conftest import Visit
from workers.ops.event_views.list_query import parse_time
from workers.ops.pages import events as events_page

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e\"'><b>"


@pytest.fixture(autouse=True)
async def _ledger(engine: AsyncEngine) -> None:
    await create(engine)


@pytest.fixture
async def index(resources: Resources) -> AsyncIterator[None]:
    async with indexing(resources):
        yield


def listing(**query: str) -> str:
    return f"/events?{urlencode(query)}"


@pytest.mark.usefixtures("index")
async def test_events_are_found_by_id_subject_type_source_and_time(
    inside: Visit, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    subject, source = uuid4().hex, f"urn:{uuid4().hex}"
    first, second = (report(n, id=uuid4().hex, subject=subject) for n in (1, 2))
    third = report(3, id=uuid4().hex, source=source)
    await publish(broker, first, second, third)
    for event in (first, second, third):
        await indexed(engine, event.id)
    before, after = (f"{now() + timedelta(minutes=m):%Y-%m-%d %H:%M}" for m in (-5, 5))
    for query, found in (
        ({"q": first.id}, {first}),
        ({"q": subject}, {first, second}),
        ({"q": subject, "type": first.type}, {first, second}),
        ({"q": subject, "type": "campaign.saved.v1"}, set()),
        ({"source": source}, {third}),
        ({"source": source, "from": before, "to": after}, {third}),
        ({"source": source, "to": before}, set()),
        ({"source": source, "from": after}, set()),
        ({"type": first.type, "from": before}, {first, second, third}),
    ):
        status, page = await inside.get(listing(**query))
        assert status == 200, page
        shown = {event for event in (first, second, third) if f"/events/{event.id}" in page}
        assert {one.id for one in shown} == {one.id for one in found}, query


@pytest.mark.usefixtures("index")
async def test_pages_go_on_where_the_one_before_ended(
    inside: Visit,
    broker: AbstractConnection,
    engine: AsyncEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events_page, "PER_PAGE", 2)
    subject = uuid4().hex
    reports = [report(n, id=uuid4().hex, subject=subject) for n in range(5)]
    await publish(broker, *reports)
    await indexed(engine, subject, 5)
    path, seen = listing(q=subject), list[str]()
    for _ in range(3):
        _, page = await inside.get(path)
        seen += [one.id for one in reports if f"/events/{one.id}" in page]
        path = page.partition('">Next')[0].rpartition('href="')[2].replace("&amp;", "&")
    assert sorted(seen) == sorted(one.id for one in reports)
    assert '">Next' not in page


@pytest.mark.parametrize(
    "query",
    [
        {"from": "yesterday"},
        {"to": "2026-13-01"},
        {"from": HOSTILE},
        {"to": "0001-01-01"},
    ],
    ids=str,
)
async def test_a_time_that_is_none_is_said_beside_its_field(
    inside: Visit, query: dict[str, str]
) -> None:
    status, page = await inside.get(listing(**query))
    assert status == 422
    assert "Not a time: write 2026-11-29 13:22, in UTC." in page
    assert 'aria-invalid="true"' in page
    assert "<script>alert" not in page


@pytest.mark.parametrize("name", ["q", "type", "source", "after"])
@pytest.mark.parametrize("value", [HOSTILE, "a\0b", "x" * 5000, "1-2-3", "9" * 40 + "-1"])
async def test_filters_may_have_any_text(inside: Visit, name: str, value: str) -> None:
    status, page = await inside.get(listing(**{name: value}))
    assert status == 200, page
    assert "<script>alert" not in page
    assert "\x1b" not in page.partition('id="h-found"')[2]


def test_a_time_without_an_offset_is_utc() -> None:
    found = parse_time("2026-11-29 13:22")
    assert found is not None
    assert found.isoformat() == "2026-11-29T13:22:00+00:00"
    assert parse_time("2026-11-29T13:22:00+02:00") == found - timedelta(hours=2)


async def _refuse(events: list[Any], ctx: Context) -> list[Any]:
    raise Permanent(f"<b>no</b> {len(events)} {ctx.tx is not None}")


async def test_find_leads_to_the_page_of_an_id(
    inside: Visit, resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    event = report(1, id=uuid4().hex)
    async with consuming(resources, _refuse), filing_dead_letters(resources):
        await publish(broker, event)
        outcome = await find_outcome(engine, event.id, lambda one: one.state == "dead")
    letter = str(outcome.dead_letters[-1].id)
    for typed, target in (
        (event.id, f"/events/{event.id}?source=urn%3Atest"),
        (letter, f"/dead-letters/{letter}"),
        (letter[:13].upper(), f"/dead-letters/{letter}"),
        ("", "/events"),
    ):
        path = f"/find?{urlencode({'q': typed})}"
        async with inside.client.get(path, allow_redirects=False) as response:
            assert (response.status, response.headers.get("Location")) == (303, target)
    status, page = await inside.get(listing(q=event.id))
    assert (status, "metrics.record: dead letter" in page) == (200, True)
    assert "&lt;b&gt;no&lt;/b&gt;" in page


@pytest.mark.parametrize("typed", ["absent", HOSTILE, "a\0b", "x" * 5000, "../..", "ffff"])
async def test_find_says_what_was_searched_where_nothing_has_the_id(
    inside: Visit, typed: str
) -> None:
    status, page = await inside.get(f"/find?{urlencode({'q': typed})}")
    assert status == 404, page
    assert "Searched: events by id" in page
    assert "<script>alert" not in page


async def test_operations_are_listed_with_caller_and_error(
    inside: Visit, admin: User, settings: Settings, engine: AsyncEngine
) -> None:
    assert settings.operation_key is not None
    key = settings.operation_key.get_secret_value().encode()
    done, refused, pending = (create_operation_id(key, admin.id) for _ in range(3))
    error = OperationError(code="NOT_FOUND", message=HOSTILE)
    async with engine.begin() as tx:
        await put_operations(
            tx,
            [
                Operation(id=done, state="done", result={}),
                Operation(id=refused, state="refused", error=error),
            ],
        )
    _, page = await inside.get("/operations")
    assert page.count(admin.email) >= 4
    assert f'href="/events/{done}?source=urn%3Aadrelay%3Aapi"' in page
    assert "&lt;script&gt;" in page
    _, page = await inside.get("/operations?state=refused")
    assert (refused in page, done in page) == (True, False)
    _, page = await inside.get(f"/operations?id={pending}")
    assert ">pending<" in page
    _, page = await inside.get(f"/operations?id={pending[:-1]}_x")
    assert "No operation has this id" in page
    path = f"/find?q={pending}"
    async with inside.client.get(path, allow_redirects=False) as response:
        assert response.headers["Location"] == f"/operations?id={pending}"
