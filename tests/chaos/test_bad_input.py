"""Bad input over AMQP: it dies with a reason in words, and its neighbours do not wait."""

import time
from typing import Any

import pytest
from aio_pika import Message
from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import encode
from infra.amqp import topology
from infra.amqp.permissions import WORKERS_USER
from infra.messaging.headers import ATTEMPT, FIRST_FAILED, KEY, WAITED
from infra.resources import Resources
from tests.chaos.hostile import (
    DEAD,
    GOOD_KEY,
    applied,
    changed,
    enveloped,
    holds,
    letters,
    note,
    send,
)
from tests.infra.ledger import QUEUE, consuming, create, publish, report, until

MIB = 1024 * 1024
NEIGHBOURS = 200
SECONDS = 15.0  # that they may take, where nothing else uses the machine
FORGED: dict[str, Any] = {
    ATTEMPT: 9,
    WAITED: 10**9,
    KEY: "campaign.saved.v1.claude",
    FIRST_FAILED: "yesterday",
    "x-delivery-count": 99,
    "x-death": [{"count": 50, "queue": QUEUE, "reason": "rejected"}],
}


BAD: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", GOOD_KEY, "INVALID_EVENT"),
    "as large as can be": (b"", GOOD_KEY, "TOO_LARGE"),
    "deep": (b"[" * 100_000 + b"]" * 100_000, GOOD_KEY, "INVALID_EVENT"),
    "wide": (b"[" + b"[]," * 80_000 + b"[]]", GOOD_KEY, "INVALID_EVENT"),
    "deep in the data": (
        encode(report(1)).replace(b'"clicks":0', b'"clicks":' + b"[" * 5000 + b"]" * 5000),
        GOOD_KEY,
        "INVALID_EVENT",
    ),
    "wide in the data": (changed(**{f"f{n}": n for n in range(5000)}), GOOD_KEY, "INVALID_EVENT"),
    "no UTF-8": (b'{"id": "\xff\xfe"}', GOOD_KEY, "INVALID_EVENT"),
    "no UTF-8 in the data": (
        encode(report(1)).replace(b'"c-1"', b'"c-\xff"'),
        GOOD_KEY,
        "INVALID_EVENT",
    ),
    "NUL": (enveloped(id="a\0b"), GOOD_KEY, "INVALID_EVENT"),
    "NUL in the data": (changed(platform_campaign_id="c\0"), GOOD_KEY, "INVALID_EVENT"),
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


LARGEST = b"x" * 15 * MIB  # the broker takes 16 MiB


@pytest.mark.parametrize("name", BAD)
async def test_bad_input_is_dead_lettered_with_a_reason_in_words(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine, name: str
) -> None:
    body, key, error_class = BAD[name]
    if error_class == "TOO_LARGE":
        body = LARGEST
    await create(engine)
    async with consuming(resources, note):
        await send(broker, body, key=key)
        lasted = await _time_neighbours(broker, engine)
        if lasted >= SECONDS:  # on a busy machine: compared with how long they take alone
            lasted -= 2 * await _time_neighbours(broker, engine, NEIGHBOURS)
        (headers,) = await letters(broker, 1)
    assert headers["x-adrelay-error-class"] == error_class
    assert headers["x-adrelay-attempts"] == 1
    assert len(str(headers["x-adrelay-reason"]).split()) >= 3
    assert lasted < SECONDS, "its neighbours had to wait"


async def _time_neighbours(
    broker: AbstractConnection, engine: AsyncEngine, before: int = 0
) -> float:
    """Publish good events after so many ``before``; gives the seconds until all are applied."""
    first = 1000 + before
    began = time.monotonic()
    await publish(broker, *(report(n) for n in range(first, first + NEIGHBOURS)))
    await until(lambda: applied(engine, before + NEIGHBOURS))
    return time.monotonic() - began


async def test_forged_headers_are_not_trusted(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await create(engine)
    async with consuming(resources, note):
        await send(broker, encode(report(1)), **FORGED)
        await until(lambda: applied(engine, 1))
        await send(broker, b"bad", **FORGED)
        (headers,) = await letters(broker, 1)
    assert headers["x-adrelay-attempts"] == 1
    assert headers[KEY] == GOOD_KEY
    assert headers[FIRST_FAILED] != "yesterday"


@pytest.mark.parametrize("address", ["", "amq.rabbitmq.reply-to.g1h2AA5yZXBseUA"])
async def test_a_forged_reply_address_is_never_written_to(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine, address: str
) -> None:
    await create(engine)
    async with broker.channel() as channel, consuming(resources, note):
        own = await channel.declare_queue(exclusive=True)
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE)
        for body in (encode(report(1)), b"bad"):
            message = Message(body, reply_to=address or own.name, user_id=WORKERS_USER)
            await exchange.publish(message, GOOD_KEY, timeout=10)
        await until(lambda: applied(engine, 1))
        await until(lambda: holds(broker, 1))
        letter = await (await channel.get_queue(DEAD)).get(timeout=10)
        assert letter is not None
        await letter.ack()
        assert letter.reply_to is None
        assert await own.get(fail=False, timeout=10) is None
