"""What had lost its queue is sent again, and stays whose it was."""

import asyncio

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp import topology, topology_declaration
from infra.amqp.message import Message
from infra.amqp.permissions import OPS_USER, UPSTREAM_USER
from infra.commands.requeue_unrouted import send_again
from infra.messaging.outbox_relay import relay_once
from infra.resources import Resources
from infra.settings import Settings
from tests.fork_server import run_module
from tests.infra.ledger import (
    QUEUE,
    body_of,
    consuming,
    create,
    depth,
    headers_of,
    publish,
    report,
    take,
    until,
    written,
)
from tests.infra.messaging.test_upstream import note
from tests.infra.parties import METRICS, SOURCE, Party, party, register
from tests.services import as_user, environment

upstream = party(UPSTREAM_USER)
PATTERN = "campaign.metrics_reported.v1.#"


@pytest.fixture(autouse=True)
async def _unbound(broker: AbstractConnection, engine: AsyncEngine) -> None:
    """No queue is bound to figures."""
    await create(engine)
    async with broker.channel() as channel:
        await (await channel.get_queue(QUEUE)).unbind(topology.WORK_EXCHANGE, PATTERN)


async def test_it_takes_effect_once_its_queue_is_there_and_not_in_our_name(
    settings: Settings,
    resources: Resources,
    broker: AbstractConnection,
    engine: AsyncEngine,
    upstream: Party,
) -> None:
    await register(engine, SOURCE)
    await publish(broker, report(1))
    await upstream.publish(report(2, source=SOURCE), METRICS)
    await upstream.publish(report(3, source="urn:adrelay:api"), METRICS)
    assert await depth(broker, topology.UNROUTED) == 3
    await topology_declaration.declare(broker)
    assert await send_again(as_user(OPS_USER, settings), engine) == (3, 0)
    assert await relay_once(resources) == 3
    async with consuming(resources, note):
        dead = await take(broker, topology.dead_queue(QUEUE))
        await until(lambda: _are(engine, ["e-1", "e-2"]))
    assert body_of(dead)["id"] == "e-3"
    assert (headers_of(dead)["error-class"], headers_of(dead)["user"]) == (
        "UNVERIFIED_SOURCE",
        UPSTREAM_USER,
    )
    assert await depth(broker, topology.UNROUTED) == 0


async def test_what_was_on_its_way_back_goes_to_its_queue_and_what_nobody_wants_stays(
    settings: Settings, resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    headers = {"x-adrelay-user": UPSTREAM_USER, "x-adrelay-key": METRICS}
    lost = [
        Message(topology.RETURN_EXCHANGE, "no.such.queue", b"{}", "m-2", headers=headers),
        Message(topology.EVENTS_EXCHANGE, "campaign.metrics_reported.v1", b"{}", "m-3"),
    ]
    assert await resources.publisher.publish_all(lost) == [None, None]
    async with broker.channel() as channel:
        await (await channel.get_queue(QUEUE)).unbind(topology.RETURN_EXCHANGE, QUEUE)
    await resources.publisher.publish(
        Message(topology.RETURN_EXCHANGE, QUEUE, b"{}", "m-1", headers=headers)
    )
    await topology_declaration.declare(broker)
    assert await send_again(as_user(OPS_USER, settings), engine) == (2, 1)
    assert await relay_once(resources) == 2
    found = [await take(broker, QUEUE), await take(broker, QUEUE)]
    told = {message.message_id: headers_of(message) for message in found}
    assert told.keys() == {"m-1", "m-3"}
    assert (told["m-1"]["user"], told["m-1"]["key"]) == (UPSTREAM_USER, METRICS)
    assert told["m-3"]["key"] == "campaign.metrics_reported.v1"
    assert (await take(broker, topology.UNROUTED)).message_id == "m-2"


async def test_the_command_says_what_it_has_done(
    settings: Settings, broker: AbstractConnection
) -> None:
    await publish(broker, report(1))
    await topology_declaration.declare(broker)
    words = ("infra.commands", "broker", "requeue-unrouted")
    done = await asyncio.to_thread(run_module, *words, env=environment(as_user(OPS_USER, settings)))
    assert (done.returncode, done.stdout) == (
        0,
        "sent again: 1; wanted by no queue, and still there: 0\n",
    )


async def _are(engine: AsyncEngine, ids: list[str]) -> bool:
    return await written(engine) == ids
