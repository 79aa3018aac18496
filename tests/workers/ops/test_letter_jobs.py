"""Replays and discards of many letters from the console: started, stopped, undone."""

import re
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp.permissions import INGRESS_USER
from infra.messaging.dead_letter_job_runner import run_due_step
from infra.messaging.headers import USER
from infra.resources import Resources
from infra.storage.publisher_registry import PublisherRegistry
from schemas.users import User
from tests.workers.ops.conftest import Visit
from tests.workers.ops.letters import KIND, figures, put_letter

GROUP = "6afbcb11eb73"
OURS = {
    "content_type": "application/cloudevents+json",
    "type": KIND,
    "correlation_id": "",
    "headers": {USER: INGRESS_USER},
}
OPEN_DIALOG = re.compile(r'<dialog id="([\w-]+)"[^>]* open>')
AUDIT = """
    select action, outcome, subject from audit
    where actor = :actor and action like 'dead_letter.%' order by at
"""


async def rows(engine: AsyncEngine, query: str, **values: Any) -> list[Any]:
    async with engine.begin() as tx:
        found = await tx.execute(text(query), values)
        return [tuple(row) for row in found] if found.returns_rows else []


@pytest.fixture(autouse=True)
async def nothing_filed(engine: AsyncEngine) -> None:
    for table in ("dead_letters", "dead_letter_jobs", "outbox"):
        await rows(engine, f"delete from {table}")  # noqa: S608 - constants


async def put_letters(engine: AsyncEngine, number: int, **changes: Any) -> list[UUID]:
    values = {"properties": OURS, **changes}
    return [await put_letter(engine, figures(f"e-{n}"), **values) for n in range(number)]


async def states(engine: AsyncEngine) -> dict[str, int]:
    found = await rows(engine, "select state, count(*)::int from dead_letters group by 1")
    return dict(found)


async def run_all(resources: Resources) -> None:
    while await run_due_step(resources, PublisherRegistry(resources.engine)) < 1:
        pass


async def test_a_group_is_replayed_by_a_job_that_the_page_shows(
    inside: Visit, engine: AsyncEngine, resources: Resources, admin: User
) -> None:
    letters = await put_letters(engine, 3)
    other = await put_letter(engine, fingerprint="other")
    _, page = await inside.get(f"/dead-letters?group={GROUP}")
    assert f"Replay 3 letters of {GROUP}?" in page
    form = {"kind": "replay", "job": str(uuid4()), "filter": f"group={GROUP}", "rate": "100"}
    for _ in range(2):
        status, page = await inside.send("/dead-letters/jobs", **form)
        assert status == 200
        assert "Replay under way" in page
        assert "0 of 3" in page
        assert "Stop<" in page
    await run_all(resources)
    _, page = await inside.get("/dead-letters")
    assert "Replay done" in page
    assert "3 replayed" in page
    assert "Stop<" not in page
    assert await states(engine) == {"replayed": 3, "open": 1}
    sent = await rows(engine, "select message_id from outbox where exchange = 'adrelay.back'")
    assert sorted(sent) == sorted((f"replay:{one}:1",) for one in letters)
    assert await rows(engine, "select state from dead_letters where id = :id", id=other) == [
        ("open",)
    ]
    assert await rows(engine, AUDIT, actor=admin.id) == 2 * [
        ("dead_letter.replay", "ok", f"group {GROUP}")
    ]


async def test_a_filter_is_replayed_and_its_failures_are_named(
    inside: Visit, engine: AsyncEngine, resources: Resources
) -> None:
    good, wrong = await put_letters(engine, 2, queue="sync.claude")
    await rows(engine, "update dead_letters set body = '{}' where id = :id", id=wrong)
    await put_letters(engine, 1)
    query = "queue=sync.claude&text=urn"
    _, page = await inside.get(f"/dead-letters?{query}")
    assert "Replay the letters that match?" in page
    assert "discard-many" not in page, "a group or chosen letters alone are discarded"
    form = {"kind": "replay", "job": str(uuid4()), "filter": query, "rate": "9"}
    await inside.send("/dead-letters/jobs", only="on", **form)
    await rows(engine, "update dead_letters set queue = 'metrics.record'")
    await run_all(resources)
    _, page = await inside.get("/dead-letters")
    assert "1 replayed" in page
    assert "1 left as they are" in page
    assert f"/dead-letters/{wrong}" in page
    assert "would not pass" in page
    assert await states(engine) == {"replayed": 1, "open": 2}
    assert await rows(engine, "select state from dead_letters where id = :id", id=good) == [
        ("replayed",)
    ]


async def test_chosen_letters_are_asked_about_and_discarded_at_once_and_the_discard_is_undone(
    inside: Visit, engine: AsyncEngine, admin: User
) -> None:
    first, second, third = await put_letters(engine, 3)
    _, page = await inside.get(f"/dead-letters?pick={first}&pick={third}&pick=x&act=discard")
    assert OPEN_DIALOG.findall(page) == ["discard-many"]
    assert "Discard 2 chosen letters?" in page
    job = uuid4()
    form = {"kind": "discard", "job": str(job), "letters": f"{first},{third}"}
    status, page = await inside.send("/dead-letters/jobs", reason=" ", **form)
    assert status == 422
    assert "say why" in page
    assert OPEN_DIALOG.findall(page) == ["discard-many"]
    for _ in range(2):
        status, page = await inside.send("/dead-letters/jobs", reason="test <b> traffic", **form)
        assert status == 200
        assert "Discard done" in page
        assert "2 discarded" in page
        assert "test &lt;b&gt; traffic" in page
        assert "Undo<" in page
    assert await states(engine) == {"discarded": 2, "open": 1}
    for _ in range(2):
        status, page = await inside.send(f"/dead-letters/jobs/{job}/undo")
        assert status == 200
        assert "2 open again" in page
        assert "Undo<" not in page
    assert await states(engine) == {"open": 3}
    history = await rows(
        engine,
        "select action, detail from dead_letter_history where letter_id = :id order by id",
        id=first,
    )
    assert history == [("discarded", "test <b> traffic"), ("undone", "")]
    audit = [entry[:2] for entry in await rows(engine, AUDIT, actor=admin.id)]
    assert audit == 2 * [("dead_letter.discard", "ok")] + 2 * [("dead_letter.undo_discard", "ok")]
    assert second


async def test_a_discard_of_many_wants_their_number_and_can_be_undone_for_ten_minutes(
    inside: Visit, engine: AsyncEngine
) -> None:
    await put_letters(engine, 21)
    _, page = await inside.get(f"/dead-letters?group={GROUP}")
    assert "Type 21 to confirm the number of letters" in page
    form = {"kind": "discard", "filter": f"group={GROUP}", "reason": "twice"}
    for typed in ("", "20", "many"):
        status, page = await inside.send(
            "/dead-letters/jobs", count=typed, job=str(uuid4()), **form
        )
        assert status == 422
        assert "these are 21 letters" in page
    assert await states(engine) == {"open": 21}
    job = uuid4()
    await inside.send("/dead-letters/jobs", count="21", job=str(job), **form)
    assert await states(engine) == {"discarded": 21}
    await rows(engine, "update dead_letter_jobs set ended_at = ended_at - interval '11 minutes'")
    _, page = await inside.get("/dead-letters")
    assert "Undo<" not in page
    status, page = await inside.send(f"/dead-letters/jobs/{job}/undo")
    assert status == 409
    assert "ended too long ago" in page
    assert await states(engine) == {"discarded": 21}


async def test_a_replay_is_stopped_and_stays_where_it_was(
    inside: Visit, engine: AsyncEngine, resources: Resources, admin: User
) -> None:
    await put_letters(engine, 4)
    job = uuid4()
    form = {"kind": "replay", "job": str(job), "filter": f"group={GROUP}", "rate": "2"}
    await inside.send("/dead-letters/jobs", **form)
    await run_due_step(resources, PublisherRegistry(engine))
    for _ in range(2):
        status, page = await inside.send(f"/dead-letters/jobs/{job}/stop")
        assert status == 200
        assert f"Replay stopped by {admin.email}" in page
    await run_all(resources)
    assert await states(engine) == {"replayed": 1, "open": 3}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"rate": "0"}, 422),
        ({"rate": "501"}, 422),
        ({"rate": "²"}, 422),
        ({"rate": "9" * 5000}, 422),
        ({"filter": "group=nowhere"}, 409),
        ({"filter": f"group={GROUP}&state=discarded"}, 422),
        ({"filter": ""}, 400),
        ({"job": "x"}, 400),
        ({"kind": "undo"}, 400),
        ({"kind": "discard", "reason": "r", "filter": "queue=metrics.record"}, 422),
    ],
)
async def test_a_form_that_asks_for_nothing_possible_starts_nothing(
    inside: Visit, engine: AsyncEngine, fields: dict[str, str], status: int
) -> None:
    await put_letters(engine, 1)
    form = {"kind": "replay", "job": str(uuid4()), "filter": f"group={GROUP}", "rate": "5"}
    assert (await inside.send("/dead-letters/jobs", **{**form, **fields}))[0] == status
    assert await rows(engine, "select id from dead_letter_jobs") == []
    assert await states(engine) == {"open": 1}


async def test_strangers_and_read_only_sessions_start_stop_and_undo_nothing(
    inside: Visit, engine: AsyncEngine
) -> None:
    await put_letters(engine, 1)
    job = uuid4()
    form = {"kind": "discard", "job": str(job), "filter": f"group={GROUP}", "reason": "r"}
    paths = ("/dead-letters/jobs", *(f"/dead-letters/jobs/{job}/{act}" for act in ("stop", "undo")))
    for path in paths:
        assert (await inside.send(path, token="forged", **form))[0] == 403
    await inside.send("/mode", mode="read-only")
    _, page = await inside.get(f"/dead-letters?group={GROUP}")
    assert "Replay…" not in page
    assert "Discard…" not in page
    for path in paths:
        assert (await inside.send(path, **form))[0] == 403
    assert await rows(engine, "select id from dead_letter_jobs") == []
    await inside.send("/mode", mode="acting")
    for path in paths[1:]:
        assert (await inside.send(path))[0] == 404
        assert (await inside.send(path.replace(str(job), "x")))[0] == 404
