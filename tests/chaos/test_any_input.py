"""Whatever a machine can think of over AMQP: it dies with a reason, and stops nobody."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import hypothesis
import pytest
from aio_pika import Message
from aio_pika.abc import AbstractConnection
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st
from pamqp.commands import Basic
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsReported
from events.envelope import encode
from infra.amqp import topology
from infra.amqp.permissions import WORKERS_USER
from infra.errors import Permanent
from infra.messaging.decoder import decode_delivery
from infra.messaging.delivery import Delivery
from infra.messaging.headers import ATTEMPT, FIRST_FAILED, KEY, WAITED
from infra.resources import Resources
from tests.chaos.hostile import (
    DEAD,
    GOOD_KEY,
    applied,
    changed,
    enveloped,
    holds,
    is_empty,
    letters,
    note,
)
from tests.infra.ledger import QUEUE, consuming, create, depth, publish, report, until, written

MIB = 1024 * 1024
NEIGHBOURS = 200

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
CLASSES = {"INVALID_EVENT", "KEY_MISMATCH", "TIMESTAMP_IN_FUTURE", "ID_REUSED"}


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
        await until(lambda: is_empty(broker), 60)
        await until(lambda: holds(broker, bad), 60)
        await until(lambda: applied(engine, NEIGHBOURS))
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
    delivery = Delivery(
        1, QUEUE, topology.EVENTS_EXCHANGE, GOOD_KEY, body, header, redelivered=False
    )
    try:
        decode_delivery(
            delivery, {CampaignMetricsReported.event_type(): CampaignMetricsReported}, MIB
        )
    except Permanent:
        return True
    return False


async def _publish_all(
    broker: AbstractConnection, made: Sequence[tuple[bytes, dict[str, Any]]]
) -> None:
    async with broker.channel() as channel:
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE)
        for start in range(0, len(made), 100):
            await asyncio.gather(
                *(
                    exchange.publish(
                        Message(body, headers=headers, user_id=WORKERS_USER), GOOD_KEY, timeout=20
                    )
                    for body, headers in made[start : start + 100]
                )
            )
