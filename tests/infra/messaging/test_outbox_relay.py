"""The outbox on its way to the broker."""

import asyncio
from dataclasses import replace

from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp import topology
from infra.amqp.frame_encoder import MAX_BODY_BYTES
from infra.amqp.message import Message, build_message
from infra.messaging import outbox
from infra.messaging.outbox_relay import MAX_REFUSALS, relay_once, relay_outbox
from infra.resources import Resources, open_resources
from infra.settings import Settings
from tests.infra.ledger import QUEUE, count, depth, report, take, until
from tests.proxy import open_proxy

TOO_LARGE = MAX_BODY_BYTES + 1
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def _write(engine: AsyncEngine, *messages: Message) -> None:
    async with engine.begin() as tx:
        await outbox.add(tx, messages)


async def test_a_row_is_published_as_it_was_written_and_deleted_after_the_confirm(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    event = report(1, correlationid="c-1", traceparent=TRACEPARENT)
    await _write(engine, build_message(event))
    assert await relay_once(resources) == 1
    message = await take(broker, QUEUE)
    assert message.message_id == "e-1"
    assert message.type == "campaign.metrics_reported.v1"
    assert message.correlation_id == "c-1"
    assert message.content_type == "application/cloudevents+json"
    assert message.headers["traceparent"] == TRACEPARENT
    assert message.app_id == "adrelay"
    assert await count(engine, "select count(*) from outbox") == 0


async def test_several_relays_publish_every_row_once(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await _write(engine, *(build_message(report(n)) for n in range(1200)))
    moved = await asyncio.gather(*(relay_once(resources) for _ in range(4)))
    assert sum(moved) == 1200
    await until(lambda: _depth_is(broker, 1200))


async def test_a_hint_wakes_the_relay_long_before_it_would_look_by_itself(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    slow = resources.settings.model_copy(update={"outbox_poll": 600.0})
    lazy = replace(resources, settings=slow)
    stop = asyncio.Event()
    task = asyncio.create_task(relay_outbox(lazy, stop))
    await until(lambda: _is_listening(resources))
    await _write(engine, build_message(report(1)))
    await outbox.notify(resources.redis)
    await until(lambda: _depth_is(broker, 1))
    stop.set()
    await task


async def test_a_lease_that_ran_out_is_taken_over(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await _write(engine, build_message(report(1)))
    async with engine.begin() as tx:
        assert len(await outbox.lease(tx, 10, 3600)) == 1
    assert await relay_once(resources) == 0
    async with engine.begin() as tx:
        await tx.execute(text("update outbox set leased_until = now() - interval '1 second'"))
    assert await relay_once(resources) == 1
    assert await depth(broker, QUEUE) == 1


async def test_a_row_that_can_never_be_published_is_parked_with_its_reason(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    lost = Message(topology.DEAD_LETTER_EXCHANGE, "no.such.queue", b"{}", "lost-1")
    await _write(engine, lost, build_message(report(1)))
    for _ in range(MAX_REFUSALS):
        await relay_once(resources)
        async with engine.begin() as tx:
            await tx.execute(text("update outbox set leased_until = '-infinity'"))
    assert await depth(broker, QUEUE) == 1
    async with engine.connect() as connection:
        reasons = await connection.execute(text("select message_id, parked_reason from outbox"))
        assert [tuple(row) for row in reasons] == [
            ("lost-1", "no queue takes 'no.such.queue' from 'adrelay.dead'")
        ]
    assert await relay_once(resources) == 0


async def test_a_missing_exchange_parks_its_row_and_no_other(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await _write(
        engine, Message("no.such.exchange", "x", b"{}", "lost-1"), build_message(report(1))
    )

    async def settled() -> bool:
        async with engine.begin() as tx:
            await tx.execute(text("update outbox set leased_until = '-infinity'"))
        await relay_once(resources)
        parked = "select count(*) from outbox where parked_reason is not null"
        return await count(engine, parked) == 1 and await depth(broker, QUEUE) >= 1

    await until(settled)
    assert await count(engine, "select count(*) from outbox") == 1


async def test_a_row_that_the_broker_refuses_is_parked_and_its_neighbours_leave(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    huge = Message(topology.RETURN_EXCHANGE, QUEUE, bytes(TOO_LARGE), "huge-1")
    long = Message(topology.RETURN_EXCHANGE, QUEUE, b"{}", "long-1", type="x" * 256)
    others = [build_message(report(n)) for n in range(4)]
    await _write(engine, others[0], huge, *others[1:3], long, others[3])

    async def settled() -> bool:
        await relay_once(resources)
        return await count(engine, "select count(*) from outbox where parked_reason is null") == 0

    await until(settled)
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("select message_id, parked_reason, attempts from outbox order by id")
        )
        found = {row.message_id: row for row in rows}
    assert found.keys() == {"huge-1", "long-1"}
    assert f"its body has {TOO_LARGE} bytes" in found["huge-1"].parked_reason
    assert found["long-1"].parked_reason.startswith("it cannot be written")
    assert {row.attempts for row in found.values()} == {1}
    assert await depth(broker, QUEUE) == 4


async def test_what_the_broker_closes_the_channel_over_is_told_from_what_was_in_flight_with_it(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    # RabbitMQ wants a list there, and says so by closing the channel (sender-selected routing).
    bad = Message(topology.RETURN_EXCHANGE, QUEUE, b"{}", "bad-1", headers={"CC": "no list"})
    others = [build_message(report(n)) for n in range(6)]
    await _write(engine, *others[:3], bad, *others[3:])

    async def settled() -> bool:
        await relay_once(resources)
        await _end_leases(engine)
        return await count(engine, "select count(*) from outbox where parked_reason is null") == 0

    await until(settled)
    async with engine.connect() as connection:
        row = (await connection.execute(text("select * from outbox"))).one()
    assert (row.message_id, row.attempts) == ("bad-1", MAX_REFUSALS)
    assert "PRECONDITION_FAILED" in row.parked_reason
    assert await depth(broker, QUEUE) >= 6


async def test_outages_are_no_refusals_of_a_row(
    settings: Settings, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    lost = Message(topology.DEAD_LETTER_EXCHANGE, "no.such.queue", b"{}", "lost-1")
    await _write(engine, lost, build_message(report(1)))
    async with open_proxy(settings.rabbitmq_url) as proxy:
        behind = {"rabbitmq_url": proxy.url(), "broker_timeout": 0.5}
        async with open_resources(settings.model_copy(update=behind), "relay") as resources:
            for _ in range(MAX_REFUSALS + 1):
                await resources.publisher.wait_until_connected()
                proxy.freeze()
                assert await relay_once(resources) == 0
                proxy.heal()
                await _end_leases(engine)
            assert await count(engine, "select max(attempts) from outbox") == 0
            await resources.publisher.wait_until_connected()
            await until(lambda: _relayed(resources))
    assert await count(engine, "select attempts from outbox") == 1
    assert await count(engine, "select count(*) from outbox where parked_reason is null") == 1
    assert await depth(broker, QUEUE) >= 1


async def test_a_lease_is_bounded_in_bytes(engine: AsyncEngine) -> None:
    half = outbox.MAX_LEASE_BYTES // 2 + 1
    await _write(
        engine, *(Message(topology.RETURN_EXCHANGE, QUEUE, bytes(half), f"m-{n}") for n in range(3))
    )
    async with engine.begin() as tx:
        assert [row.id for row in await outbox.lease(tx, 500, 30)] == [1, 2]


async def _end_leases(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        await tx.execute(text("update outbox set leased_until = '-infinity'"))


async def _relayed(resources: Resources) -> bool:
    await _end_leases(resources.engine)
    return await relay_once(resources) > 0


async def _depth_is(broker: AbstractConnection, messages: int) -> bool:
    return await depth(broker, QUEUE) == messages


async def _is_listening(resources: Resources) -> bool:
    listeners = await resources.redis.pubsub_numsub(outbox.NOTIFY_CHANNEL)
    return bool(listeners[0][1])
