"""Queues and workers over HTTP: what is shown, pauses and resumes, refusals."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp.connection import BrokerConnection
from infra.messaging.gauges import export_queue_gauges
from infra.resources import Resources
from infra.storage.pauses import PauseTarget, find_pause, pause, stop_queue
from schemas.queues import QueueOverview, QueueState, QueueSummary
from schemas.users import User
from tests.workers.ops.conftest import MakeAccount, Visit
from workers.ops.queue_rows import build_rows
from workers.ops.sampler import Sample
from workers.ops.spark import MAX_POINTS, spark_points

QUEUE = "metrics.record"
START = datetime(2026, 11, 29, 14, 0, tzinfo=UTC)
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
        ({"kind": "account", "name": "claude", "account": str(uuid4())}, 404),
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


def sample(at: int, ready: int | None, handled: int, state: QueueState = "reading") -> Sample:
    """Build a sample of one queue, ``at`` seconds after the start."""
    when = START + timedelta(seconds=at)
    queue = QueueSummary(name=QUEUE, state=state, ready=ready, retrying=0, dead=0)
    overview = QueueOverview(counted_at=when, queues=(queue,), pauses=())
    return Sample(number=at, at=when, overview=overview, handled={QUEUE: handled})


@pytest.mark.parametrize(
    ("history", "rates", "drained_in"),
    [
        ([sample(0, 0, 0)], ("not known", "0"), "0 s"),
        ([sample(0, 0, 0), sample(10, 400, 200)], ("60", "20"), "20 s"),
        ([sample(0, 900, 0), sample(10, 100, 950)], ("15", "95"), "1 s"),
        ([sample(0, 5000, 0), sample(10, 4, 950)], ("0", "95"), "< 1 s"),
        ([sample(0, 7, 0), sample(10, 7, 0)], ("0", "0"), "nothing is handled"),
        ([sample(0, 7, 0), sample(10, None, 10)], ("not known", "1"), "not known"),
        ([sample(0, 7, 0), sample(60, 9, 10)], ("not known", "1"), "9 s"),
        ([sample(0, 7, 0), sample(10, 9, 0, "paused")], ("0.2", "0"), "paused"),
    ],
)
def test_rates_and_the_time_to_drain_follow_from_the_samples(
    history: list[Sample], rates: tuple[str, str], drained_in: str
) -> None:
    (row,) = build_rows(history)
    assert (row.cells["in"], row.cells["out"]) == rates
    assert row.drained_in == drained_in


def test_without_postgres_there_are_no_rows() -> None:
    assert build_rows([]) == []
    assert build_rows([sample(0, 1, 1), replace(sample(2, 1, 1), overview=None)]) == []


def test_the_points_of_a_sparkline_stay_in_its_picture_and_are_few() -> None:
    assert spark_points([]) == ""
    assert spark_points([0]) == "0.0,22.5"
    assert spark_points([0, 10]) == "0.0,22.5 96.0,2.5"
    points = [tuple(map(float, one.split(","))) for one in spark_points(range(150)).split()]
    assert len(points) <= MAX_POINTS
    assert points[-1] == (96.0, 2.5)
    assert all(0 <= x <= 96 and 2.5 <= y <= 22.5 for x, y in points)
