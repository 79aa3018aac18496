"""The life of a message, on a real broker and a real database."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsRecorded, CampaignMetricsReported
from events.envelope import Event
from infra.amqp.topology_declaration import declare
from infra.errors import Permanent, Snooze, Transient
from infra.messaging.context import Context
from infra.resources import Resources
from tests.infra.ledger import (
    QUEUE,
    body_of,
    consuming,
    count,
    create,
    depth,
    headers_of,
    publish,
    report,
    take,
    until,
    write,
    written,
)

DEAD = f"{QUEUE}.dead"
Reports = list[CampaignMetricsReported]


@pytest.fixture(autouse=True)
async def _ledger(engine: AsyncEngine) -> None:
    await create(engine)


async def note(events: Reports, ctx: Context) -> Sequence[Event]:
    await write(ctx.tx, events)
    return ()


async def test_every_event_takes_effect_once_however_often_it_comes(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    events = [report(n) for n in range(100, 300)]
    await publish(broker, *events, *events, *events[:50])
    async with consuming(resources, note, batch=40):
        await until(lambda: _has(engine, 200))
        await publish(broker, *events[:10], report(999))
        await until(lambda: _has(engine, 201))
    assert await written(engine) == [*(f"e-{n}" for n in range(100, 300)), "e-999"]
    assert await depth(broker, QUEUE) == 0
    assert await depth(broker, DEAD) == 0
    assert await count(engine, "select count(*) from inbox") == 201


async def test_a_poison_event_does_not_hold_back_its_neighbours(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    async def handle(events: Reports, ctx: Context) -> Sequence[Event]:
        await write(ctx.tx, events)
        for event in events:
            if event.id == "e-13":
                await ctx.tx.execute(text("select cast('x' || :id as integer)"), {"id": event.id})
        return ()

    await publish(broker, *(report(n) for n in range(10, 60)))
    async with consuming(resources, handle, batch=50):
        dead = await take(broker, DEAD)
        await until(lambda: _has(engine, 49))
    assert body_of(dead)["id"] == "e-13"
    assert headers_of(dead)["error-class"] == "INVALID_DATA"
    assert headers_of(dead)["reason"] == "Postgres refuses the data (SQLSTATE 22P02)"
    assert "e-13" not in await written(engine)


async def test_a_failure_that_names_its_events_spares_the_others_at_once(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    sizes: list[int] = []

    async def handle(events: Reports, ctx: Context) -> Sequence[Event]:
        sizes.append(len(events))
        odd = [event for event in events if event.data.impressions % 2]
        if odd:
            raise Permanent("odd", events=odd, code="ODD")
        return await note(events, ctx)

    await publish(broker, *(report(n) for n in range(10, 50)))
    async with consuming(resources, handle, batch=40):
        await until(lambda: _has(engine, 20))
        await until(lambda: _depth_is(broker, DEAD, 20))
    # One message comes carefully, the others in at most two batches, each tried twice.
    assert len(sizes) <= 6


async def test_a_transient_failure_comes_back_to_its_queue_with_an_attempt_spent(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    tries: list[str] = []

    async def handle(events: Reports, ctx: Context) -> Sequence[Event]:
        tries.extend(event.id for event in events)
        if len(tries) == 1:
            raise Transient("not yet")
        return await note(events, ctx)

    await publish(broker, report(1))
    async with consuming(resources, handle):
        await until(lambda: _has(engine, 1))
    assert tries == ["e-1", "e-1"]
    assert await depth(broker, DEAD) == 0


async def test_a_dead_letter_carries_its_history(
    resources: Resources, broker: AbstractConnection
) -> None:
    async def handle(events: Reports, _: Context) -> Sequence[Event]:
        if len(tries) == 0:
            tries.append(1)
            raise Transient("not yet")
        raise Permanent("never", events=events, code="NEVER")

    tries: list[int] = []
    await publish(broker, report(1))
    async with consuming(resources, handle):
        headers = headers_of(await take(broker, DEAD))
    assert headers["reason"] == "never"
    assert headers["error-class"] == "NEVER"
    assert headers["stage"] == "handler"
    assert headers["attempts"] == 2
    assert headers["key"] == "campaign.metrics_reported.v1.claude"
    assert headers["first-failed"] < headers["last-failed"]
    assert not any(name.startswith("x-death") for name in headers)


async def test_a_snooze_costs_no_attempt(resources: Resources, broker: AbstractConnection) -> None:
    calls = 0

    async def handle(events: Reports, _: Context) -> Sequence[Event]:
        nonlocal calls
        calls += 1
        if calls <= 2:
            raise Snooze("the platform sleeps", 0.5)
        raise Permanent("look at my attempts", events=events)

    await publish(broker, report(1))
    async with consuming(resources, handle):
        headers = headers_of(await take(broker, DEAD))
    assert (calls, headers["attempts"]) == (3, 1)


async def test_what_cannot_be_decoded_is_dead_with_the_reason_in_words(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await publish(broker, report(1), b"no json", report(2))
    async with consuming(resources, note):
        dead = await take(broker, DEAD)
        await until(lambda: _has(engine, 2))
    assert dead.body == b"no json"
    assert headers_of(dead)["error-class"] == "INVALID_EVENT"
    assert "Invalid JSON" in headers_of(dead)["reason"]


async def test_an_id_that_is_used_for_another_event_is_dead_and_not_swallowed(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await publish(broker, report(1))
    async with consuming(resources, note):
        await until(lambda: _has(engine, 1))
        await publish(broker, report(2, id="e-1"), report(1))
        dead = await take(broker, DEAD)
    assert headers_of(dead)["error-class"] == "ID_REUSED"
    assert await written(engine) == ["e-1"]


async def test_events_that_a_handler_returns_leave_through_the_outbox_only_if_it_commits(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    async def handle(events: Reports, ctx: Context) -> Sequence[Event]:
        await write(ctx.tx, events)
        caused = [recorded(event) for event in events]
        if any(event.id == "e-2" for event in events):
            raise Permanent("no", events=[e for e in events if e.id == "e-2"])
        return caused

    await publish(broker, report(1), report(2), report(3))
    async with consuming(resources, handle):
        await until(lambda: _has(engine, 2))
        await until(lambda: _depth_is(broker, DEAD, 1))
    assert await count(engine, "select count(*) from outbox") == 2


async def test_a_lost_database_connection_pauses_and_spends_no_attempt(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    cut = 0

    async def handle(events: Reports, ctx: Context) -> Sequence[Event]:
        nonlocal cut
        await write(ctx.tx, events)
        if cut < 2:
            cut += 1
            await ctx.tx.execute(text("select pg_terminate_backend(pg_backend_pid())"))
        return ()

    await publish(broker, *(report(n) for n in range(10, 30)))
    async with consuming(resources, handle):
        await until(lambda: _has(engine, 20))
    assert cut == 2
    assert await written(engine) == [f"e-{n}" for n in range(10, 30)]
    for queue in (DEAD, "adrelay.retry.1s", "adrelay.retry.5s"):
        assert await depth(broker, queue) == 0


async def test_a_deadlock_runs_the_batch_again(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    tries = 0

    async def handle(events: Reports, ctx: Context) -> Sequence[Event]:
        nonlocal tries
        tries += 1
        await write(ctx.tx, events)
        if tries <= 2:
            raising = "do $$ begin raise exception using errcode = '40P01'; end $$"
            await ctx.tx.execute(text(raising))
        return ()

    await publish(broker, report(1))
    async with consuming(resources, handle):
        await until(lambda: _has(engine, 1))
    assert tries == 3
    assert await depth(broker, DEAD) == 0


async def test_what_must_wait_outside_happens_before_the_transaction_and_fails_alone(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    prepared: list[str] = []

    async def call(events: Reports, _: Resources) -> list[Any]:
        prepared.extend(event.id for event in events)
        assert resources.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        return [Permanent("refused") if event.id == "e-12" else event for event in events]

    await publish(broker, *(report(n) for n in range(10, 20)))
    async with consuming(resources, note, prepare=call):
        await until(lambda: _has(engine, 9))
        assert body_of(await take(broker, DEAD))["id"] == "e-12"
        await publish(broker, report(10), report(99))
        await until(lambda: _has(engine, 10))
    # What has been handled is not prepared again.
    assert sorted(prepared) == [*(f"e-{n}" for n in range(10, 20)), "e-99"]


async def test_the_consumer_comes_back_after_the_broker_has_cut_its_connections(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    async with consuming(resources, note, batch=5) as consumer:
        await publish(broker, report(10))
        await until(lambda: _has(engine, 1))
        transport = consumer._connection._connection.transport  # type: ignore[union-attr]
        transport.connection._reader_task.cancel()  # type: ignore[union-attr]
        await publish(broker, *(report(n) for n in range(11, 40)))
        await until(lambda: _has(engine, 30))
        assert consumer.alive
    assert len(await written(engine)) == 30


async def test_several_consumers_share_a_queue_and_double_nothing(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    events = [report(n) for n in range(1000, 1400)]
    async with (
        consuming(resources, note, batch=20, parallel=2),
        consuming(resources, note, batch=20, parallel=2),
    ):
        await asyncio.gather(*(publish(broker, *events[k::4], *events[k::8]) for k in range(4)))
        await until(lambda: _has(engine, 400))
        await until(lambda: _depth_is(broker, QUEUE, 0))
    assert len(await written(engine)) == 400


def recorded(event: CampaignMetricsReported) -> CampaignMetricsRecorded:
    data = {
        "campaign_id": "7c0e4ad5-6d0b-4cf9-9d3b-5e8a1a3f7a11",
        "platform": "claude",
        "date": event.data.date,
        "impressions": 1,
        "clicks": 0,
        "conversions": 0,
        "spend_micros": 0,
        "events": [event.id],
    }
    return CampaignMetricsRecorded.caused_by(event, source="urn:adrelay:metrics", data=data)


async def _has(engine: AsyncEngine, lines: int) -> bool:
    return len(await written(engine)) >= lines


async def _depth_is(broker: AbstractConnection, queue: str, messages: int) -> bool:
    return await depth(broker, queue) == messages


async def test_a_queue_that_is_missing_is_named_and_read_once_it_is_there_again(
    resources: Resources,
    broker: AbstractConnection,
    engine: AsyncEngine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with broker.channel() as channel:
        await channel.queue_delete(QUEUE)
    async with consuming(resources, note):
        await until(lambda: _is_logged(caplog, f"no queue '{QUEUE}'"))
        await declare(broker)
        await publish(broker, report(1))
        await until(lambda: _has(engine, 1))


async def test_a_queue_that_is_deleted_under_the_consumer_is_noticed(
    resources: Resources,
    broker: AbstractConnection,
    engine: AsyncEngine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with consuming(resources, note) as consumer:
        await publish(broker, report(1))
        await until(lambda: _has(engine, 1))
        async with broker.channel() as channel:
            await channel.queue_delete(QUEUE)
        await until(lambda: _is_logged(caplog, "is the queue still there?"))
        await declare(broker)
        await publish(broker, report(2))
        await until(lambda: _has(engine, 2))
        assert consumer.alive


async def _is_logged(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    return any(words in str(record.__dict__.get("reason")) for record in caplog.records)
