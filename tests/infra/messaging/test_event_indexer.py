"""The event index: complete and without doubles, whatever is logged and whenever it is killed."""

import asyncio
from typing import Any
from uuid import uuid4

import orjson
from aio_pika import Message
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp import topology
from infra.amqp.permissions import INGRESS_USER, OPS_USER, UPSTREAM_USER, WORKERS_USER
from infra.commands.migrate import declare_topology
from infra.messaging.event_indexer import index_events
from infra.messaging.headers import DOOR, OUTBOX
from infra.resources import Resources
from tests.infra.indexing import indexed, indexing, rows_of
from tests.infra.ledger import report
from tests.infra.parties import METRICS, Party, party
from tests.services import url_as

POSITION = text("select next_offset from log_positions where reader = 'event_index'")
DOUBLES = text("select count(*) - count(distinct log_offset) from event_index")
upstream = party(UPSTREAM_USER)


async def log_message(
    broker: AbstractConnection, body: bytes, key: str = METRICS, **properties: Any
) -> None:
    """Publish bytes with the properties that a test wants."""
    told = {"content_type": "application/cloudevents+json", "user_id": WORKERS_USER}
    async with broker.channel() as channel:
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE, ensure=False)
        await exchange.publish(Message(body, **{**told, **properties}), key, timeout=10)


async def test_an_event_is_indexed_with_what_its_attributes_say(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    name = uuid4().hex
    event = report(1, id=name, subject=f"s-{name}", correlationid="c", causationid="q")
    async with indexing(resources):
        await log_message(broker, event.model_dump_json(exclude_none=True).encode())
        (row,) = await indexed(engine, name)
    assert row["source"] == "urn:test"
    assert (row["type"], row["routing_key"]) == ("campaign.metrics_reported.v1", METRICS)
    assert (row["subject"], row["correlation_id"], row["causation_id"]) == (f"s-{name}", "c", "q")
    assert row["door"] == f"amqp user={WORKERS_USER}"
    assert row["campaign_id"] == "c-1"
    assert row["occurred_at"] == event.time
    assert not row["from_outbox"]


async def test_an_event_in_binary_mode_is_indexed_alike(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    name = uuid4().hex
    headers: Any = {"cloudEvents_id": name, "cloudEvents_source": "urn:b", "cloudEvents_subject": 7}
    async with indexing(resources):
        await log_message(broker, b"{}", content_type="application/json", headers=headers)
        (row,) = await indexed(engine, name)
    assert (row["source"], row["subject"]) == ("urn:b", "7")


async def test_the_door_counts_on_messages_of_our_own_users_alone(
    resources: Resources, broker: AbstractConnection, upstream: Party, engine: AsyncEngine
) -> None:
    name = uuid4().hex
    body = orjson.dumps({"id": name, "source": "urn:x", "type": "t"})
    written = "2026-11-22T08:00:00+00:00"
    told: Any = {DOOR: "http POST /api/v1/events key=1", OUTBOX: written}
    async with indexing(resources):
        await log_message(broker, body, user_id=INGRESS_USER, headers=told)
        await upstream.publish(body, METRICS, headers=told)
        ours, foreign = await indexed(engine, name, 2)
    assert ours["door"] == told[DOOR]
    assert ours["from_outbox"]
    assert ours["accepted_at"].isoformat() == written
    assert foreign["door"] == f"amqp user={UPSTREAM_USER}"
    assert foreign["accepted_at"] is None
    assert not foreign["from_outbox"]


HOSTILE: list[tuple[bytes, dict[str, Any]]] = [
    (b"", {}),
    (b"\xff\xfe not text", {}),
    (b"[" * 100_000, {}),
    (b'{"id": "a\\u0000b", "source": "\\ud800", "subject": "\\u0000"}', {}),
    (b'{"id": {"a": 1}, "source": [], "data": "x", "subject": 1e400}', {}),
    (b'{"type": "campaign.synced.v1", "data": {"version": 1e308, "status": [[]]}}', {}),
    (b"{}", {"timestamp": 253_402_300_799}),
    (b"{}", {"headers": {DOOR: [1], OUTBOX: {"a": "b"}}}),
    (b"{}", {"headers": {DOOR: "\0" * 5000, OUTBOX: "9999-12-31T23:59:59-23:59"}}),
    (orjson.dumps({"id": "i" * 10_000, "source": "ü" * 10_000, "subject": "€" * 9_000}), {}),
    (
        b"{}",
        {"content_type": "application/json", "headers": {"cloudEvents_id": bytearray(b"\xff\0")}},
    ),
    (b"x" * 300_000, {}),
]


async def test_no_bytes_stop_the_index(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    after = uuid4().hex
    async with indexing(resources):
        for body, properties in HOSTILE:
            await log_message(broker, body, message_id=f"m-{after}", **properties)
        await log_message(broker, orjson.dumps({"id": after, "source": "urn:x"}))
        await indexed(engine, after)
    async with engine.connect() as connection:
        named = await connection.execute(
            text("select count(*) from event_index where event_id = :id"), {"id": f"m-{after}"}
        )
        assert named.scalar_one() >= 7  # those whose own id cannot be read


async def test_an_index_that_is_killed_goes_on_without_gaps_and_doubles(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    subject = uuid4().hex
    bodies = [
        orjson.dumps({"id": str(number), "source": "urn:k", "subject": subject})
        for number in range(1500)
    ]
    async with broker.channel() as channel:
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE, ensure=False)
        sending = (exchange.publish(Message(body), METRICS, timeout=30) for body in bodies)
        await asyncio.gather(*sending)
    for seen in (1, 300, 700):
        task = asyncio.create_task(index_events(resources, asyncio.Event()))
        await indexed(engine, subject, seen)
        task.cancel()
        await asyncio.wait({task})
    async with indexing(resources):
        found = await indexed(engine, subject, len(bodies))
    assert sorted(int(row["event_id"]) for row in found) == list(range(len(bodies)))
    async with engine.connect() as connection:
        assert (await connection.execute(DOUBLES)).scalar_one() == 0


async def test_a_log_that_was_declared_again_is_indexed_from_its_beginning(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    first, second = uuid4().hex, uuid4().hex
    async with indexing(resources):
        await log_message(broker, orjson.dumps({"id": first, "source": "urn:x"}))
        await indexed(engine, first)
    async with broker.channel() as channel:
        await channel.queue_delete(topology.EVENT_LOG)
    await declare_topology(url_as(OPS_USER, resources.settings.rabbitmq_url))
    await log_message(broker, orjson.dumps({"id": second, "source": "urn:x"}))
    async with indexing(resources):
        (row,) = await indexed(engine, second)
    assert row["log_offset"] == 0
    assert len(await rows_of(engine, first)) == 1


async def test_of_several_relays_one_writes(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    name = uuid4().hex
    async with indexing(resources), indexing(resources):
        await log_message(broker, orjson.dumps({"id": name, "source": "urn:x"}))
        await indexed(engine, name)
    assert len(await rows_of(engine, name)) == 1
