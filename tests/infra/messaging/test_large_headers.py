"""Headers as large as a frame: what came in can leave again, and the connection stays."""

from typing import Any

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import encode
from infra.amqp import topology
from infra.amqp.permissions import UPSTREAM_USER
from infra.settings import Settings
from tests.handlers.samples import put, running
from tests.infra.ledger import count, depth, report, until
from tests.infra.parties import METRICS, SOURCE, register
from tests.processes import running as running_process
from tests.raw_amqp import bodies
from tests.raw_amqp.client import ACKED, open_publisher
from tests.raw_amqp.examples import send_with_pika
from tests.raw_amqp.grammar import FRAME_MAX, FRAMING, Properties, Publish, Table, Value, string
from tests.services import url_as

LETTERS = "select count(*) from dead_letters"
APPLIED = "select count(*) from campaign_metrics"
RETRIED = topology.retry_exchange("1s"), topology.retry_exchange("5s")
USER = UPSTREAM_USER.encode()
FULL = FRAME_MAX - FRAMING  # bytes of a content header at most
# Bytes that a header leaves free: from none to more than all that we add to a copy.
FREE = (0, 1, 100, 300, 600, 1000, 2000, 3000, 5000)


@pytest.fixture(autouse=True)
async def _registered(engine: AsyncEngine) -> None:
    await register(engine, SOURCE)


@pytest.fixture
def url(settings: Settings) -> str:
    return url_as(UPSTREAM_USER, settings.rabbitmq_url)


def attributes(number: int) -> Table:
    """Write what makes a message in binary mode a report."""
    told = bodies.attributes(number).items()
    return [(f"cloudEvents_{name}".encode(), string(value.encode())) for name, value in told]


def filled(headers: Table, free: int, **properties: Any) -> Properties:
    """Fill a content header with attributes of 1,000 bytes until so many bytes are free."""
    made = list(headers)
    while True:
        name = b"cloudEvents_x%03d" % len(made)
        size = 12 + len(Properties(headers=made, user_id=USER, **properties).written)
        framing = 1 + len(name) + len(string(b"").written)
        left = FULL - free - size - framing
        if left <= 1000:
            made.append((name, string(b"v" * left)))
            return Properties(headers=made, user_id=USER, **properties)
        # The last one needs room for its name too.
        made.append((name, string(b"v" * min(1000, left - framing))))


async def publish(url: str, *messages: tuple[Properties, bytes]) -> None:
    """Publish raw frames, each of which the broker takes."""
    async with open_publisher(url) as publisher:
        answers = await publisher.publish_all(
            [Publish(b"adrelay.events", METRICS.encode(), told, body) for told, body in messages]
        )
    assert answers == [ACKED] * len(messages), publisher.closed


async def test_the_message_that_broke_every_connection_dies_alone(
    settings: Settings, engine: AsyncEngine, url: str
) -> None:
    await put(engine, running(platform_campaign_id="c-1"))
    headers = {f"cloudEvents_x{n:03}": "v" * 1000 for n in range(127)}
    headers["cloudEvents_x127"] = "v" * 900
    event = encode(report(1, source=SOURCE))
    async with running_process("workers.metrics", settings), _relay(settings):
        send_with_pika(url, [(METRICS, b"bad", {"headers": headers})], user_id=UPSTREAM_USER)
        send_with_pika(url, [(METRICS, event, {}), (METRICS, b"worse", {})], user_id=UPSTREAM_USER)
        await until(lambda: _is(engine, LETTERS, 2), 20)
        await until(lambda: _is(engine, APPLIED, 1), 10)


@pytest.mark.parametrize("name", [b"n", b"\xff" * 255], ids=["short names", "long names"])
async def test_headers_of_every_size_leave_again(
    settings: Settings, engine: AsyncEngine, broker: AbstractConnection, url: str, name: bytes
) -> None:
    """Bad ones are filed; good ones come too early, wait in the ladder and take effect."""
    bad = [(filled([], free, message_id=name), f"bad: {free}".encode()) for free in FREE]
    texts = (b"correlation_id", b"message_id", b"type", b"content_encoding", b"app_id")
    more = {text.decode(): name for text in texts}
    early = [
        (filled([*attributes(n), (name, Value(b"V", b""))], free, **more), _late(n))
        for n, free in enumerate(FREE)
    ]
    neighbours = [(Properties(user_id=USER), _late(100 + n, whole=True)) for n in range(20)]
    numbers = [*range(len(FREE)), *range(100, 120)]
    async with running_process("workers.metrics", settings), _relay(settings):
        await publish(url, *bad, *early, *neighbours)
        await until(lambda: _is(engine, LETTERS, len(bad)), 20)
        await until(lambda: _waits(broker), 20)
        await put(engine, *(_campaign(n) for n in numbers))
        await until(lambda: _is(engine, APPLIED, len(numbers)), 40)
    assert await count(engine, LETTERS) == len(bad)


def _late(number: int, *, whole: bool = False) -> bytes:
    told = bodies.data(number, late=True)
    document = bodies.event(number, data=told) if whole else told
    return bodies.as_json(document)


def _campaign(number: int) -> Any:
    return running(
        id=bodies.campaign_id(number, late=True),
        platform_campaign_id=bodies.platform_id(number, late=True),
    )


def _relay(settings: Settings) -> Any:
    return running_process("workers.relay", settings)


async def _is(engine: AsyncEngine, sql: str, number: int) -> bool:
    return await count(engine, sql) == number


async def _waits(broker: AbstractConnection) -> bool:
    return sum([await depth(broker, queue) for queue in RETRIED]) > 0
