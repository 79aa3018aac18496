"""One dead letter: why, dry run, edit, replay, discard with a reason, undo."""

import re
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp.permissions import INGRESS_USER
from infra.messaging.headers import USER
from infra.storage.publishers import RegisteredPublisher, put_publisher
from schemas.users import User
from tests.workers.ops.conftest import Visit
from tests.workers.ops.letters import KIND, figures, put_letter

VERSION = re.compile(r'name="version" value="([^"]+)"')
PASSES, FAILS = "Would pass", "Would not pass"


def properties(user: str = INGRESS_USER) -> dict[str, object]:
    return {
        "content_type": "application/cloudevents+json",
        "type": KIND,
        "correlation_id": "",
        "headers": {USER: user},
    }


async def column(engine: AsyncEngine, name: str, letter: UUID) -> object:
    async with engine.connect() as tx:
        query = text(f"select {name} from dead_letters where id = :id")  # noqa: S608 - a test's
        return (await tx.execute(query, {"id": letter})).scalar_one()


async def version(inside: Visit, letter: UUID) -> str:
    found = VERSION.search((await inside.get(f"/dead-letters/{letter}?view=json"))[1])
    assert found
    return found[1]


async def test_a_poisoned_event_is_understood_mended_run_dry_and_replayed(
    inside: Visit, engine: AsyncEngine, admin: User
) -> None:
    wrong = figures("w-1", spend=None, spend_eur=1.5, conversions="n/a")
    letter = await put_letter(engine, wrong, properties=properties(), event_id="w-1")
    status, page = await inside.get(f"/dead-letters/{letter}?view=json")
    assert status == 200
    assert "The body does not fit the schema of its event type." in page
    assert FAILS in page
    assert "<code>data.spend</code>: Field required" in page
    assert "line 14: <code>data.spend_eur</code>" in page
    form = {"version": await version(inside, letter), "body": figures("w-1").decode()}
    status, page = await inside.send(f"/dead-letters/{letter}/edit", **form)
    assert status == 200
    assert "Saved." in page
    assert PASSES in page
    assert "this id is new to metrics.record" in page
    assert f"{INGRESS_USER} may publish this type" in page
    assert "<del>    &#34;spend_eur&#34;: 1.5" in page or "spend_eur" in page
    status, page = await inside.send(f"/dead-letters/{letter}/replay")
    assert "Replayed: the event goes to its queue" in page
    assert await column(engine, "state", letter) == "replayed"
    async with engine.connect() as tx:
        sent = (
            await tx.execute(
                text("select routing_key, body from outbox where message_id = :id"),
                {"id": f"replay:{letter}:1"},
            )
        ).one()
        audit = (
            await tx.execute(
                text("select action, outcome, actor from audit where subject = :id order by at"),
                {"id": str(letter)},
            )
        ).all()
    assert (sent.routing_key, sent.body) == ("metrics.record", figures("w-1"))
    assert [tuple(row) for row in audit] == [
        ("dead_letter.edit", "ok", admin.id),
        ("dead_letter.replay", "ok", admin.id),
    ]
    assert f"{admin.email} edited" in page
    status, page = await inside.send(f"/dead-letters/{letter}/replay")
    assert status == 409
    assert f"{letter} is replayed" in page


async def test_what_came_is_kept_and_the_difference_shown(
    inside: Visit, engine: AsyncEngine
) -> None:
    letter = await put_letter(engine, figures("d-1", clicks="many"), properties=properties())
    for clicks in (2, 3):
        form = {
            "version": await version(inside, letter),
            "body": figures("d-1", clicks=clicks).decode(),
        }
        assert (await inside.send(f"/dead-letters/{letter}/edit", **form))[0] == 200
    _, page = await inside.get(f"/dead-letters/{letter}")
    assert "What the edits change" in page
    assert "<del>    &#34;clicks&#34;: &#34;many&#34;,</del>" in page
    assert "<ins>    &#34;clicks&#34;: 3,</ins>" in page
    _, page = await inside.get(f"/dead-letters/{letter}?view=came")
    assert "many" in page


async def test_a_form_from_before_a_change_saves_nothing_and_is_kept(
    inside: Visit, engine: AsyncEngine
) -> None:
    body = figures("v-1")
    letter = await put_letter(engine, body, properties=properties())
    old = await version(inside, letter)
    form = {"version": old, "body": figures("v-1", clicks=7).decode()}
    assert (await inside.send(f"/dead-letters/{letter}/edit", **form))[0] == 200
    form = {"version": old, "body": '{"mine": true}'}
    status, page = await inside.send(f"/dead-letters/{letter}/edit", **form)
    assert status == 409
    assert "the letter was changed in the meantime" in page
    assert "{&#34;mine&#34;: true}</textarea>" in page
    assert await column(engine, "body", letter) == figures("v-1", clicks=7)


@pytest.mark.parametrize(
    ("body", "changes", "reason"),
    [
        (b"{", {}, "the body is no JSON"),
        (b"[" * 100_000, {}, "the body is no JSON"),
        (b"x" * 300_000, {}, "the limit is"),
        (figures(), {"routing_key": "unknown.kind.v1"}, "names no event that"),
        (figures(), {"properties": properties("nobody")}, "is no registered publisher"),
        (figures(), {"properties": properties("crm")}, "may not speak for"),
        (
            figures(),
            {"properties": {**properties(), "headers": {}}},
            "it carries no user_id",
        ),
    ],
    ids=["json", "depth", "size", "type", "stranger", "source", "no user"],
)
async def test_a_dry_run_stops_at_the_first_step_that_fails(
    inside: Visit,
    engine: AsyncEngine,
    admin: User,
    body: bytes,
    changes: dict[str, object],
    reason: str,
) -> None:
    async with engine.begin() as tx:
        crm = RegisteredPublisher("crm", frozenset({"urn:example:crm"}), admin.id)
        await put_publisher(tx, crm)
    letter = await put_letter(engine, body, **{"properties": properties(), **changes})
    status, page = await inside.get(f"/dead-letters/{letter}")
    assert status == 200
    assert FAILS in page
    assert reason in page
    assert page.count('aria-label="Failed"') == 2, "one in the history"
    assert "not tried" in page


async def test_bytes_that_do_not_decode_are_shown_in_hexadecimal(
    inside: Visit, engine: AsyncEngine
) -> None:
    letter = await put_letter(engine, b"crm-\xff\xfe\xc3(2026\x00", properties=properties())
    status, page = await inside.get(f"/dead-letters/{letter}")
    assert status == 200
    assert (
        "0000  63 72 6d 2d <b>ff</b> <b>fe</b> <b>c3</b> 28  crm-<b>.</b><b>.</b><b>.</b>(" in page
    )
    assert "0008  32 30 32 36 00           2026.</pre>" in page.replace("\n</pre>", "</pre>")


async def test_a_discard_wants_a_reason_and_is_undone_for_ten_minutes(
    inside: Visit, engine: AsyncEngine
) -> None:
    letter = await put_letter(engine, figures(), properties=properties())
    status, _ = await inside.send(f"/dead-letters/{letter}/discard", reason="  ")
    assert status == 400
    assert await column(engine, "state", letter) == "open"
    _, page = await inside.send(f"/dead-letters/{letter}/discard", reason="sent \x00 twice")
    assert "sent  twice" in page
    assert await column(engine, "state", letter) == "discarded"
    _, page = await inside.send(f"/dead-letters/{letter}/undo")
    assert "The discard is undone" in page
    assert await column(engine, "state", letter) == "open"
    await inside.send(f"/dead-letters/{letter}/discard", reason="again")
    async with engine.begin() as tx:
        earlier = (
            "update dead_letters set acted_at = acted_at - interval '11 minutes' where id = :id"
        )
        await tx.execute(text(earlier), {"id": letter})
    _, page = await inside.get(f"/dead-letters/{letter}")
    assert ">Undo<" not in page
    status, page = await inside.send(f"/dead-letters/{letter}/undo")
    assert status == 409
    assert "more than 10 minutes ago" in page


async def test_a_read_only_session_sees_no_acts_and_may_do_none(
    inside: Visit, engine: AsyncEngine
) -> None:
    letter = await put_letter(engine, figures(), properties=properties())
    await inside.send("/mode", mode="read-only")
    _, page = await inside.get(f"/dead-letters/{letter}")
    assert "Replay…" not in page
    assert "<textarea" not in page
    for act in ("edit", "replay", "discard", "undo"):
        assert (await inside.send(f"/dead-letters/{letter}/{act}", reason="r"))[0] == 403
    assert await column(engine, "state", letter) == "open"


@pytest.mark.parametrize("name", ["nonsense", "00000000-0000-0000-0000-000000000000", "%00"])
async def test_a_letter_that_is_not_there_is_not_found(inside: Visit, name: str) -> None:
    assert (await inside.get(f"/dead-letters/{name}"))[0] == 404


async def test_a_letter_is_mended_in_its_form_and_brought_back(
    inside: Visit, engine: AsyncEngine
) -> None:
    came = figures("f-1", spend=None, spend_eur=1.5, conversions="n/a")
    letter = await put_letter(engine, came, properties=properties(), event_id="f-1")
    path = f"/dead-letters/{letter}"
    _, page = await inside.get(path)
    assert "Remove this field" in page
    assert "Input should be a valid integer" in page
    assert "a whole number, 0 to 1,000,000,000,000" in page
    old = await version(inside, letter)
    form = {
        'f["data","spend"]': "1.5",
        'f["data","conversions"]': "many",
        'remove:f["data","spend_eur"]': "on",
    }
    status, page = await inside.send(f"{path}/edit", version=old, **form)
    assert status == 200
    assert "By the dry run it would not pass: data.conversions" in page
    assert "1 field is wrong" in page
    assert "removed, was 1.5" in page
    assert "was missing" in page
    form = {"version": await version(inside, letter), 'f["data","conversions"]': "0"}
    _, page = await inside.send(f"{path}/edit", **form)
    assert "The letter would pass now." in page
    assert "was n/a" in page
    assert "data.conversions, data.spend, data.spend_eur removed" in page, "the history names them"
    assert await column(engine, "body", letter) == figures("f-1")
    status, page = await inside.send(f"{path}/edit", **{**form, "version": old})
    assert status == 409
    form = {"version": await version(inside, letter), "restore": "1"}
    _, page = await inside.send(f"{path}/edit", **form)
    assert await column(engine, "body", letter) == came
    assert "Back to what came" not in page


async def test_a_field_that_is_no_json_is_not_saved_and_stays_in_the_form(
    inside: Visit, engine: AsyncEngine
) -> None:
    letter = await put_letter(engine, figures(date=[1]), properties=properties())
    form = {"version": await version(inside, letter), 'f["data","date"]': "<2026>"}
    status, page = await inside.send(f"/dead-letters/{letter}/edit", **form)
    assert status == 400
    assert "Not saved: data.date: this is no JSON." in page
    assert 'value="&lt;2026&gt;"' in page
    assert await column(engine, "body", letter) == figures(date=[1])
