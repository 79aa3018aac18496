"""Queues and workers over HTTP: what is shown, pauses and resumes, refusals."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp.connection import BrokerConnection
from infra.messaging.gauges import export_queue_gauges
from infra.resources import Resources
from infra.storage.pauses import PauseTarget, find_pause, pause, stop_queue
from schemas.users import User
from tests.workers.ops.conftest import MakeAccount, Visit

QUEUE = "metrics.record"
REASON = "Gemini answers 503, see <OPS-2231>"


@pytest.fixture(autouse=True)
async def nothing_paused(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        await tx.execute(text("delete from pauses"))


async def paused_row(engine: AsyncEngine, target: PauseTarget) -> object:
    async with engine.begin() as tx:
        return await find_pause(tx, target)


async def send_pause(visit: Visit, **fields: str) -> tuple[int, str]:
    form = {"kind": "queue", "name": QUEUE, "reason": REASON, **fields}
    return await visit.send("/queues/pause", **form)


async def test_a_queue_is_paused_and_resumed_with_its_reason_on_every_page(
    inside: Visit, engine: AsyncEngine, admin: User
) -> None:
    status, page = await send_pause(inside)
    assert status == 200, page
    assert "Gemini answers 503, see &lt;OPS-2231&gt;" in page
    assert admin.email in page
    assert f"Resume {QUEUE}?" in page
    assert f"{QUEUE} for" in (await inside.get("/audit"))[1], "the strip names it"
    async with engine.begin() as tx:
        found = await find_pause(tx, PauseTarget("queue", QUEUE))
        entries = await tx.execute(
            text("select action, subject, outcome from audit where actor = :id"), {"id": admin.id}
        )
        assert ("queue.pause", QUEUE, "ok") in [tuple(entry) for entry in entries]
    assert found is not None
    assert (found.reason, found.paused_by) == (REASON, admin.email)
    status, page = await inside.send("/queues/resume", kind="queue", name=QUEUE)
    assert status == 200
    assert "Nothing is paused" in page
    assert await paused_row(engine, PauseTarget("queue", QUEUE)) is None


@pytest.mark.parametrize("reason", ["", "       x", "x" * 501, "1234567"])
async def test_a_pause_without_a_good_reason_keeps_the_form(
    inside: Visit, engine: AsyncEngine, reason: str
) -> None:
    status, page = await send_pause(inside, reason=reason)
    assert status == 422
    assert "Not paused: a reason has 8 characters or more" in page
    assert f'value="{reason.strip()}"' in page
    assert page.count(" open>") == 1
    assert await paused_row(engine, PauseTarget("queue", QUEUE)) is None


async def test_a_second_pause_changes_nothing_and_says_by_whom_it_is_held(
    inside: Visit, engine: AsyncEngine, admin: User
) -> None:
    async with engine.begin() as tx:
        target = PauseTarget("queue", QUEUE)
        await pause(tx, target, reason="index rebuild", paused_by="oncall")
    status, page = await send_pause(inside)
    assert status == 409
    assert "by oncall, “index rebuild”. Nothing was changed." in page
    assert "Gemini answers 503, see &lt;OPS-2231&gt;" in page, "what was typed is kept"
    await inside.send("/queues/resume", kind="queue", name=QUEUE)
    status, page = await inside.send("/queues/resume", kind="queue", name=QUEUE)
    assert status == 409
    assert f"Not resumed: {QUEUE} is not paused. Nothing was changed." in page
    assert admin.email in page


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"name": "auth.session"}, 409),
        ({"name": f"{QUEUE}.dead"}, 409),
        ({"name": "<b>"}, 404),
        ({"name": "x" * 5000}, 404),
        ({"kind": "platform", "name": "myspace"}, 404),
        ({"kind": "account", "name": "claude", "account": str(UUID(int=7))}, 404),
        ({"kind": "account", "name": "claude"}, 404),
        ({"kind": "planet"}, 400),
    ],
    ids=str,
)
async def test_what_cannot_be_paused_is_refused_in_the_frame(
    inside: Visit, fields: dict[str, str], status: int
) -> None:
    found, page = await send_pause(inside, **fields)
    assert found == status
    assert "<nav" in page
    assert "<b>'" not in page


async def test_a_platform_is_paused_for_all_its_accounts(inside: Visit) -> None:
    status, page = await send_pause(inside, kind="platform", name="gemini")
    assert status == 200
    assert "Resume platform gemini?" in page
    assert "Paused with its platform" in page
    status, page = await inside.send("/queues/resume", kind="platform", name="gemini")
    assert "Nothing is paused" in page


async def test_a_read_only_session_sees_no_act_and_may_send_none(
    inside: Visit, engine: AsyncEngine
) -> None:
    await inside.send("/mode", mode="read-only")
    page = (await inside.get("/queues"))[1]
    assert "/queues/pause" not in page
    assert (await send_pause(inside))[0] == 403
    assert await paused_row(engine, PauseTarget("queue", QUEUE)) is None


async def test_who_is_an_admin_no_longer_pauses_nothing(
    visit: Visit, make_account: MakeAccount, engine: AsyncEngine
) -> None:
    user = await make_account("admin")
    await visit.log_in(user.email)
    token = await visit.token("/queues")
    async with engine.begin() as tx:
        await tx.execute(text("update users set role = 'viewer' where id = :id"), {"id": user.id})
    status, _ = await visit.send("/queues/pause", token, kind="queue", name=QUEUE, reason=REASON)
    assert status == 401
    assert await paused_row(engine, PauseTarget("queue", QUEUE)) is None


async def test_a_stop_and_isolated_messages_are_shown(inside: Visit, engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        await stop_queue(tx, QUEUE, reason="KeyError x", version="0123abc", worker="worker-a")
        await tx.execute(
            text("""
                insert into suspects (queue, key, holder, died, marked_at)
                values (:queue, :key, :key, array[cast(:key as uuid), :key], now())
            """),
            {"queue": QUEUE, "key": uuid4()},
        )
    await inside.send("/queues/resume", kind="platform", name="claude")  # takes a sample
    page = (await inside.get("/queues"))[1]
    assert "its process died 2 times, in hand now" in page
    assert "in version 0123abc" in page
    assert "1 stopped by their circuit breakers" in page


async def test_the_counts_of_the_relay_are_shown(
    inside: Visit, engine: AsyncEngine, resources: Resources
) -> None:
    link = BrokerConnection(resources.settings, "test:counts")
    await export_queue_gauges(link, 5, resources.redis)
    await link.close()
    async with engine.begin() as tx:
        await tx.execute(
            text("""
                insert into inbox (consumer, key, digest)
                select :queue, gen_random_uuid(), gen_random_uuid() from generate_series(1, 50)
            """),
            {"queue": QUEUE},
        )
    await inside.send("/queues/resume", kind="platform", name="claude")  # takes a sample
    page = (await inside.get("/queues"))[1]
    assert f'data-live="queue.{QUEUE}.waiting">0<' in page
    assert f'data-live="queue.{QUEUE}.out">5<' in page
