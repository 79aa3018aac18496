"""Anything at all over AMQP: it dies with a reason in words, and its neighbours do not wait.

The hostile publisher goes past our own code: raw bytes, any headers, any routing key.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import hypothesis
import orjson
import pytest
from aio_pika import Message
from aio_pika.abc import AbstractConnection
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st
from pamqp.commands import Basic
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsReported
from events.base import Event, encode
from infra import topology
from infra.context import Context
from infra.definitions import WORKERS
from infra.delivery import ATTEMPT, FIRST_FAILED, KEY, WAITED, Delivery, receive
from infra.errors import Permanent
from infra.resources import Resources
from tests.infra.ledger import (
    QUEUE,
    consuming,
    create,
    depth,
    publish,
    report,
    until,
    write,
    written,
)

DEAD = topology.dead_queue(QUEUE)
GOOD_KEY = "campaign.metrics_reported.v1.claude"
MIB = 1024 * 1024
NEIGHBOURS = 200
Reports = list[CampaignMetricsReported]
FORGED: dict[str, Any] = {
    ATTEMPT: 9,
    WAITED: 10**9,
    KEY: "campaign.saved.v1.claude",
    FIRST_FAILED: "yesterday",
    "x-delivery-count": 99,
    "x-death": [{"count": 50, "queue": QUEUE, "reason": "rejected"}],
}


def changed(**fields: Any) -> bytes:
    """Write a report with some of its data replaced."""
    event = orjson.loads(encode(report(1)))
    event["data"] |= fields
    return json.dumps(event).encode()


def enveloped(**fields: Any) -> bytes:
    """Write a report with some of its envelope replaced."""
    return json.dumps(orjson.loads(encode(report(1))) | fields).encode()


BAD: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", GOOD_KEY, "INVALID_EVENT"),
    "20 MB": (b"x" * (20 * MIB), GOOD_KEY, "TOO_LARGE"),
    "deep": (b"[" * 100_000 + b"]" * 100_000, GOOD_KEY, "INVALID_EVENT"),
    "wide": (b"[" + b"[]," * 80_000 + b"[]]", GOOD_KEY, "INVALID_EVENT"),
    "no UTF-8": (b'{"id": "\xff\xfe"}', GOOD_KEY, "INVALID_EVENT"),
    "NUL": (enveloped(id="a\0b"), GOOD_KEY, "INVALID_EVENT"),
    "80 bits": (
        changed(impressions=2**79),
        GOOD_KEY,
        "INVALID_EVENT",
    ),
    "wrong type": (enveloped(type="campaign.saved.v1"), GOOD_KEY, "INVALID_EVENT"),
    "unknown version": (
        enveloped(type="campaign.metrics_reported.v9"),
        "campaign.metrics_reported.v1.claude",
        "INVALID_EVENT",
    ),
    "another platform's key": (encode(report(1)), f"{GOOD_KEY}.more", "KEY_MISMATCH"),
}


async def note(events: Reports, ctx: Context) -> Sequence[Event]:
    await write(ctx.tx, events)
    return ()


async def send(
    broker: AbstractConnection, *bodies: bytes, key: str = GOOD_KEY, **headers: Any
) -> None:
    async with broker.channel() as channel:
        exchange = await channel.get_exchange(topology.EVENTS)
        for body in bodies:
            message = Message(
                body, headers=headers, user_id=WORKERS, content_type="application/cloudevents+json"
            )
            await exchange.publish(message, key, timeout=20)


async def letters(broker: AbstractConnection, count: int) -> list[dict[str, Any]]:
    """Take so many dead letters; gives their headers."""
    await until(lambda: _holds(broker, count))
    async with broker.channel() as channel:
        queue = await channel.get_queue(DEAD)
        taken = []
        for _ in range(count):
            message = await queue.get(timeout=10)
            assert message is not None
            taken.append(dict(message.headers))
            await message.ack()
    return taken


@pytest.mark.parametrize("name", BAD)
async def test_bad_input_is_dead_lettered_with_a_reason_in_words(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine, name: str
) -> None:
    body, key, error_class = BAD[name]
    await create(engine)
    async with consuming(resources, note):
        await send(broker, body, key=key)
        began = time.monotonic()
        await publish(broker, *(report(n) for n in range(1000, 1000 + NEIGHBOURS)))
        await until(lambda: _applied(engine, NEIGHBOURS))
        lasted = time.monotonic() - began
        (headers,) = await letters(broker, 1)
    assert headers["x-adrelay-error-class"] == error_class
    assert headers["x-adrelay-attempts"] == 1
    assert len(str(headers["x-adrelay-reason"]).split()) >= 3
    assert lasted < 5, "its neighbours had to wait"


async def test_forged_headers_are_not_believed(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await create(engine)
    async with consuming(resources, note):
        await send(broker, encode(report(1)), **FORGED)
        await until(lambda: _applied(engine, 1))
        await send(broker, b"bad", **FORGED)
        (headers,) = await letters(broker, 1)
    assert headers["x-adrelay-attempts"] == 1
    assert headers[KEY] == GOOD_KEY
    assert headers[FIRST_FAILED] != "yesterday"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
FIELDS = st.sampled_from(["impressions", "clicks", "date", "platform", "spend", "mode", "more"])
ENVELOPE = st.sampled_from(["id", "source", "type", "time", "specversion", "subject", "data"])
BODIES = (
    st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(FIELDS, JSON, min_size=1).map(lambda fields: changed(**fields))
    | st.dictionaries(ENVELOPE, JSON, min_size=1).map(lambda fields: enveloped(**fields))
)
NAMES = st.sampled_from([ATTEMPT, WAITED, KEY, FIRST_FAILED, "x-death", "traceparent", "other"])
VALUES = st.text(max_size=20) | st.integers(-(2**31), 2**31 - 1) | st.booleans()
HEADERS = st.dictionaries(NAMES, VALUES, max_size=5)
CLASSES = {"INVALID_EVENT", "KEY_MISMATCH", "FROM_THE_FUTURE", "ID_REUSED"}


def cases(count: int) -> list[tuple[bytes, dict[str, Any]]]:
    """Let Hypothesis make so many messages."""
    made: list[tuple[bytes, dict[str, Any]]] = []

    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(BODIES, HEADERS)
    def collect(body: bytes, headers: dict[str, Any]) -> None:
        made.append((body, headers))

    collect()
    return made


@pytest.mark.timeout(200)
@pytest.mark.parametrize("count", [300, pytest.param(5000, marks=pytest.mark.long)])
async def test_whatever_is_sent_ends_with_a_reason_and_stops_nobody(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine, count: int
) -> None:
    await create(engine)
    made = cases(count)
    bad = sum(_is_bad(body, headers) for body, headers in made)
    assert bad >= count / 4, "the generator makes too little that is wrong"
    neighbours = [report(n) for n in range(1000, 1000 + NEIGHBOURS)]
    async with consuming(resources, note, batch=100) as consumer:
        await asyncio.gather(
            _publish_all(broker, made), publish(broker, *(encode(e) for e in neighbours))
        )
        await until(lambda: _is_empty(broker), 60)
        await until(lambda: _holds(broker, bad), 60)
        await until(lambda: _applied(engine, NEIGHBOURS))
        assert consumer.alive
        dead = await letters(broker, await depth(broker, DEAD))
    assert len(dead) >= bad
    assert {headers["x-adrelay-error-class"] for headers in dead} <= CLASSES
    assert all(len(str(headers["x-adrelay-reason"]).split()) >= 2 for headers in dead)
    assert {headers["x-adrelay-attempts"] for headers in dead} == {1}
    assert {event.id for event in neighbours} <= set(await written(engine))


def _is_bad(body: bytes, headers: dict[str, Any]) -> bool:
    """Tell whether a message can be no event of this queue, whatever came before it."""
    header = Basic.Properties(headers=headers)
    delivery = Delivery(1, QUEUE, topology.EVENTS, GOOD_KEY, body, header, redelivered=False)
    try:
        receive(delivery, {CampaignMetricsReported.event_type(): CampaignMetricsReported}, MIB)
    except Permanent:
        return True
    return False


async def _publish_all(
    broker: AbstractConnection, made: Sequence[tuple[bytes, dict[str, Any]]]
) -> None:
    async with broker.channel() as channel:
        exchange = await channel.get_exchange(topology.EVENTS)
        for start in range(0, len(made), 100):
            await asyncio.gather(
                *(
                    exchange.publish(
                        Message(body, headers=headers, user_id=WORKERS), GOOD_KEY, timeout=20
                    )
                    for body, headers in made[start : start + 100]
                )
            )


async def _holds(broker: AbstractConnection, count: int) -> bool:
    return await depth(broker, DEAD) >= count


async def _applied(engine: AsyncEngine, count: int) -> bool:
    return len(await written(engine)) >= count


async def _is_empty(broker: AbstractConnection) -> bool:
    return await depth(broker, QUEUE) == 0
