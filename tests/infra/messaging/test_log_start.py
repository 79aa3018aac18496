"""The beginning of the event log, as the relay exports it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from aio_pika.abc import AbstractConnection
from pamqp.common import FieldTable
from prometheus_client import REGISTRY
from yarl import URL

from events import UserRegistered
from infra.amqp import topology, topology_declaration
from infra.amqp.connection import BrokerConnection
from infra.amqp.message import build_message
from infra.messaging.log_start import NOTHING_DROPPED, export_log_start, find_log_start
from infra.resources import Resources
from infra.settings import Settings
from tests.infra.ledger import until
from tests.infra.messaging.log_reading import TIMEOUT, write_log
from tests.services import Services

SEGMENT = 50_000  # bytes


async def _publish(resources: Resources, number: int) -> None:
    data = {"user_id": "5f0c9ad4-3a55-4c0e-8a3e-6a1f1a0c4711", "role": "manager"}
    events = [UserRegistered(id=f"e-{n}", source="urn:test", data=data) for n in range(number)]
    verdicts = await resources.publisher.publish_all([build_message(e) for e in events])
    assert set(verdicts) == {None}


async def test_a_log_that_has_dropped_nothing_reaches_back_for_ever(
    settings: Settings, broker: AbstractConnection
) -> None:
    link = BrokerConnection(settings, "test:log")
    await _replace_log(broker)
    assert await find_log_start(link, TIMEOUT) is None
    await write_log(broker, ["e-1"])
    assert await find_log_start(link, TIMEOUT) == NOTHING_DROPPED
    await link.close()


async def test_the_time_of_the_oldest_event_is_exported_once_some_were_dropped(
    resources: Resources, settings: Settings, services: Services, broker: AbstractConnection
) -> None:
    vhost = URL(settings.rabbitmq_url.get_secret_value()).path.strip("/")
    await _replace_log(broker)
    policy = {
        "pattern": r"^adrelay\.history$",
        "definition": {"max-length-bytes": 4 * SEGMENT},
        "apply-to": "queues",
        "priority": 9,
    }
    services.operator.call("PUT", "policies", vhost, "short", body=policy)
    began = datetime.now(UTC).timestamp()
    stop, link = asyncio.Event(), BrokerConnection(settings, "test:log")
    await write_log(broker, ["foreign"])

    async def has_dropped() -> bool:
        await _publish(resources, 1000)
        return await find_log_start(link, TIMEOUT) != NOTHING_DROPPED

    await until(has_dropped)
    own = settings.model_copy(update={"backup_max_age": "2D"})
    exporting = asyncio.create_task(export_log_start(replace(resources, settings=own), stop))
    name = "adrelay_log_start_timestamp_seconds"
    await until(lambda: _is_exported(name, began - 1))
    assert REGISTRY.get_sample_value("adrelay_backup_max_age_seconds") == 2 * 86_400
    stop.set()
    await exporting
    await link.close()
    services.operator.call("DELETE", "policies", vhost, "short")


async def _is_exported(name: str, least: float) -> bool:
    return (REGISTRY.get_sample_value(name) or 0) >= least


async def _replace_log(broker: AbstractConnection) -> None:
    """Begin the log again, with segments that are soon full."""
    async with broker.channel() as channel:
        await channel.queue_delete(topology.EVENT_LOG)
        arguments: FieldTable = {
            "x-queue-type": "stream",
            "x-stream-max-segment-size-bytes": SEGMENT,
        }
        queue = await channel.declare_queue(topology.EVENT_LOG, durable=True, arguments=arguments)
        await queue.bind(topology.EVENTS_EXCHANGE, "#")


@pytest.fixture(autouse=True)
async def _mended(broker: AbstractConnection) -> AsyncIterator[None]:
    """Declare the log as it was, after each test."""
    yield
    async with broker.channel() as channel:
        await channel.queue_delete(topology.EVENT_LOG)
    await topology_declaration.declare(broker)
