"""A queue under our name that somebody else has declared: another kind, other arguments."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsReported
from events.envelope import Event
from infra.amqp import topology, topology_declaration
from infra.messaging.context import Context
from infra.resources import Resources
from tests.infra.ledger import QUEUE, consuming, create, publish, report, until, write, written

Reports = list[CampaignMetricsReported]
# What a worker cannot read, with what the broker says to it.
UNREADABLE: dict[str, tuple[dict[str, Any], str]] = {
    "a stream": ({"x-queue-type": "stream"}, "NOT_IMPLEMENTED"),
    "one that takes a single reader": (
        {"x-queue-type": "quorum", "x-single-active-consumer": True},
        "RESOURCE_LOCKED",
    ),
}
READABLE: dict[str, dict[str, Any]] = {
    "a classic one": {},
    "one without dead letters": {"x-queue-type": "quorum", "x-max-length": 100},
}


async def note(events: Reports, ctx: Context) -> Sequence[Event]:
    await write(ctx.tx, events)
    return ()


@asynccontextmanager
async def foreign(broker: AbstractConnection, arguments: dict[str, Any]) -> AsyncIterator[None]:
    """Put a queue of other arguments in the place of Adrelay's for the length of a block."""
    async with broker.channel() as channel:
        await channel.queue_delete(QUEUE)
        queue = await channel.declare_queue(QUEUE, durable=True, arguments=arguments)
        await queue.bind(topology.WORK_EXCHANGE, "campaign.metrics_reported.v1.#")
        try:
            yield
        finally:
            await channel.queue_delete(QUEUE)
            await topology_declaration.declare(broker)


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_a_queue_of_another_kind_is_named_and_does_not_make_a_worker_spin(
    resources: Resources,
    broker: AbstractConnection,
    engine: AsyncEngine,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    arguments, word = UNREADABLE[kind]
    await create(engine)
    async with foreign(broker, arguments), consuming(resources, note) as consumer:
        await until(lambda: _said(caplog, 3))
        assert not consumer.alive
        assert all(word in reason and QUEUE in reason for reason in _reasons(caplog)), _reasons(
            caplog
        )
        # The waits between the tries grow: those that are left could not be so many in a second.
        tries = len(_reasons(caplog))
        await asyncio.sleep(1)
        assert len(_reasons(caplog)) <= tries + 2, "it spins"
    async with consuming(resources, note):
        await publish(broker, report(1))
        await until(lambda: _has(engine, 1))


@pytest.mark.parametrize("kind", READABLE)
async def test_a_queue_with_other_arguments_is_read_all_the_same(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine, kind: str
) -> None:
    await create(engine)
    async with foreign(broker, READABLE[kind]), consuming(resources, note):
        await publish(broker, *(report(number) for number in range(5)))
        await until(lambda: _has(engine, 5))


def _reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    ours = (record for record in caplog.records if record.name == "infra.messaging.consumer")
    return [str(record.__dict__["reason"]) for record in ours]


async def _said(caplog: pytest.LogCaptureFixture, times: int) -> bool:
    return len(_reasons(caplog)) >= times


async def _has(engine: AsyncEngine, count: int) -> bool:
    return len(await written(engine)) >= count
