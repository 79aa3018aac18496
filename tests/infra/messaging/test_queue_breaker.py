"""The circuit breaker: a queue stops when most of its events fail in our own code, only then."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsReported
from events.envelope import Event
from infra.commands.queues import list_queues, resume, run
from infra.errors import Permanent
from infra.messaging.context import Context
from infra.messaging.queue_breaker import MIN_EVENTS, Tally, Window
from infra.resources import Resources
from infra.settings import Settings
from infra.storage.pauses import PauseTarget
from tests.infra.ledger import (
    QUEUE,
    consuming,
    count,
    create,
    depth,
    publish,
    report,
    until,
    write,
    written,
)
from tests.services import environment

DEAD = f"{QUEUE}.dead"
TIERS = ("adrelay.retry.1s", "adrelay.retry.5s", "adrelay.retry.30s")
STOPPED = "select count(*) from pauses where code_version is not null"
Reports = list[CampaignMetricsReported]


@pytest.fixture(autouse=True)
async def _ledger(engine: AsyncEngine) -> None:
    await create(engine)


def about(number: int, subjects: int = 10) -> CampaignMetricsReported:
    """Make a report about one of some campaigns."""
    return report(number, subject=f"c-{number % subjects}")


async def refuse(_: Reports, __: Context) -> Sequence[Event]:
    raise KeyError("a bad release")


async def note(events: Reports, ctx: Context) -> Sequence[Event]:
    await write(ctx.tx, events)
    return ()


async def test_a_bad_release_stops_the_queue_and_kills_no_event(
    resources: Resources,
    settings: Settings,
    broker: AbstractConnection,
    engine: AsyncEngine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    await publish(broker, *(about(n) for n in range(100)))
    async with consuming(resources, refuse) as consumer:
        await until(lambda: _count_is(engine, STOPPED, 1))
        await until(lambda: _depths(broker, 100))
        assert str(consumer.trouble).startswith("stopped: ")
        assert "KeyError" in str(consumer.trouble)
        await until(_is_listed)
        assert QUEUE in capsys.readouterr().out
    # It does not go on by itself with the same code, not even in another process.
    async with consuming(resources, note) as consumer:
        await until(lambda: _is(str(consumer.trouble).startswith("stopped: ")))
        assert await written(engine) == []
        assert await asyncio.to_thread(_resume) == 0
        await until(lambda: _has(engine, 100))
        await until(lambda: _is(consumer.trouble is None))
    assert await depth(broker, DEAD) == 0
    assert await asyncio.to_thread(_resume) == 1


async def test_a_revoked_permission_stops_the_queue(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await _run_sql(engine, "revoke insert on ledger from current_user")
    await publish(broker, *(about(n) for n in range(40)))
    async with consuming(resources, note) as consumer:
        await until(lambda: _count_is(engine, STOPPED, 1))
        await until(lambda: _depths(broker, 40))
        assert "ProgrammingError" in str(consumer.trouble)
        await _run_sql(engine, "grant insert on ledger to current_user")
        await _run_sql(engine, "delete from pauses")
        await until(lambda: _has(engine, 40))
    assert await depth(broker, DEAD) == 0


async def test_other_code_tries_and_goes_on_when_it_succeeds(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await _stop_as_other_code(engine)
    await publish(broker, *(about(n) for n in range(20)))
    async with consuming(resources, note):
        await until(lambda: _has(engine, 20))
        await until(lambda: _count_is(engine, STOPPED, 0))


async def test_other_code_that_fails_too_stops_again(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await _stop_as_other_code(engine)
    await publish(broker, *(about(n) for n in range(20)))
    async with consuming(resources, refuse):
        again = f"{STOPPED} and code_version <> 'other'"
        await until(lambda: _count_is(engine, again, 1))
    await until(lambda: _depths(broker, 20))


async def test_bad_input_and_a_few_poison_events_never_stop_a_queue(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    async def handle(events: Reports, ctx: Context) -> Sequence[Event]:
        for event in events:
            if event.data.impressions % 10 == 0:
                raise KeyError(event.id)
        odd = [event for event in events if event.data.impressions % 2]
        if odd:
            raise Permanent("odd", events=odd, code="ODD")
        return await note(events, ctx)

    bodies: list[bytes | CampaignMetricsReported] = [b"no json"] * 50
    bodies += [about(n) for n in range(100)]
    await publish(broker, *bodies)
    async with consuming(resources, handle) as consumer:
        await until(lambda: _has(engine, 40))
        await until(lambda: _depth_is(broker, DEAD, 100))
        assert consumer.trouble is None
    assert await count(engine, STOPPED) == 0


def tally(failed: int, handled: int = 0, subjects: int = 10, at: float = 0) -> Tally:
    return Tally(at, handled, {uuid4(): f"s-{n % subjects}" for n in range(failed)})


@pytest.mark.parametrize(
    ("tallies", "stops"),
    [
        ([tally(MIN_EVENTS)], True),
        ([tally(MIN_EVENTS - 1)], False),
        ([tally(100, subjects=2)], False),
        ([tally(100, handled=99)], True),
        ([tally(100, handled=100)], False),
        ([tally(0, handled=100), tally(20)], False),
        ([tally(0, handled=10_000), *[Tally(0, 0, {uuid4(): f"s-{n}"}) for n in range(250)]], True),
        ([tally(3), tally(2, at=4000)], False),
        ([tally(3), tally(2, at=3000)], True),
    ],
)
def test_most_of_the_latest_events_over_several_subjects_have_to_fail(
    tallies: list[Tally],
    stops: bool,  # noqa: FBT001 - a column of the table
) -> None:
    window = Window()
    assert any(window.add(one) is not None for one in tallies) is stops


def test_an_event_that_fails_each_time_counts_once() -> None:
    window = Window()
    keys = [uuid4() for _ in range(MIN_EVENTS - 1)]
    same = {key: f"s-{n}" for n, key in enumerate(keys)}
    assert [window.add(Tally(at, 0, same)) for at in range(20)] == [None] * 20


async def _stop_as_other_code(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        await tx.execute(
            text(
                "insert into pauses (kind, name, reason, paused_by, code_version)"
                " values ('queue', :queue, 'bad', 'host', 'other')"
            ),
            {"queue": QUEUE},
        )


async def _run_sql(engine: AsyncEngine, sql: str) -> None:
    async with engine.begin() as tx:
        await tx.execute(text(sql))


def _resume() -> int:
    return asyncio.run(run(lambda tx: resume(tx, [PauseTarget("queue", QUEUE)], as_json=False)))


def _list() -> int:
    return asyncio.run(run(lambda tx: list_queues(tx, as_json=False)))


async def _is_listed() -> bool:
    """Tell whether the command lists the queues: a busy database may not answer it in time."""
    return await asyncio.to_thread(_list) == 0


async def _is(truth: bool) -> bool:  # noqa: FBT001 - what is asked for
    return truth


async def _has(engine: AsyncEngine, lines: int) -> bool:
    return len(await written(engine)) >= lines


async def _count_is(engine: AsyncEngine, sql: str, wanted: int) -> bool:
    return await count(engine, sql) == wanted


async def _depth_is(broker: AbstractConnection, queue: str, wanted: int) -> bool:
    return await depth(broker, queue) == wanted


async def _depths(broker: AbstractConnection, wanted: int) -> bool:
    """Tell whether so many are in the queue, but for the one that was tried first."""
    waiting = await depth(broker, QUEUE)
    return waiting + sum([await depth(broker, tier) for tier in TIERS]) == wanted
