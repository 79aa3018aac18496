"""Faults of RabbitMQ: killed, frozen, its connections closed, its alarms, a queue gone."""

import asyncio

import orjson
import pytest

from infra.amqp import topology
from infra.amqp.permissions import OPS_USER
from infra.commands.migrate import declare_topology
from tests.chaos.history import Way
from tests.chaos.nemesis import HEARTBEAT, Nemesis
from tests.chaos.servers import BROKER
from tests.infra.ledger import QUEUE, until
from tests.services import url_as

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(150)]

# The sign in the management API, the setting, a value that cannot be met, the usual one.
ALARMS = {
    "memory": ("mem_alarm", "set_vm_memory_high_watermark", "0.000001", "0.4"),
    "disk": ("disk_free_alarm", "set_disk_free_limit", "1000000GB", "200MB"),
}


async def test_a_killed_broker_loses_nothing(nemesis: Nemesis) -> None:
    servers = nemesis.world.servers

    async def kill() -> bool:
        before = await asyncio.to_thread(servers.kill, BROKER)
        return await asyncio.to_thread(servers.start, BROKER) != before

    await nemesis.strike("RabbitMQ kill -9 and restart", kill)


@pytest.mark.long
async def test_connections_that_an_operator_closes_come_back(nemesis: Nemesis) -> None:
    world = nemesis.world
    operator = world.servers.services.operator

    async def close_all() -> bool:
        listed = await asyncio.to_thread(operator.call, "GET", "connections")
        names = [c["name"] for c in listed if c.get("vhost") == world.vhost]
        for name in names:
            await asyncio.to_thread(operator.call, "DELETE", "connections", name)
        return len(names) >= 2 * len(world.processes) - 1

    await nemesis.strike("RabbitMQ close_all_connections", close_all)


@pytest.mark.long
async def test_a_broker_that_stands_still_for_longer_than_a_heartbeat(nemesis: Nemesis) -> None:
    servers = nemesis.world.servers

    async def freeze() -> bool:
        frozen = await asyncio.to_thread(servers.freeze, BROKER)
        try:
            # The library gives a peer up after (heartbeat + 1) * 3 seconds.
            await asyncio.sleep((HEARTBEAT + 1) * 3 + nemesis.dice.uniform(2, 4))
        finally:
            servers.thaw(frozen)
        return len(frozen) > 0

    await nemesis.strike("RabbitMQ SIGSTOP past the heartbeat", freeze)


@pytest.mark.long
@pytest.mark.parametrize("name", ALARMS)
async def test_an_alarm_holds_publishers_up_and_nothing_else(nemesis: Nemesis, name: str) -> None:
    world = nemesis.world
    control = world.servers.control
    sign, setting, impossible, usual = ALARMS[name]

    async def alarm() -> bool:
        accepted = world.load.statuses[202]
        await asyncio.to_thread(control, setting, impossible)
        try:
            await until(lambda: _alarmed(nemesis, sign), 15)
            # What arrives over HTTP meanwhile is accepted: the outbox takes it.
            await until(lambda: _outbox_holds(nemesis), 15)
        finally:
            await asyncio.to_thread(control, setting, usual)
        await until(lambda: _calm(nemesis, sign), 15)
        return world.load.statuses[202] > accepted

    await nemesis.strike(f"RabbitMQ {name} alarm", alarm)


@pytest.mark.long
async def test_a_queue_deleted_under_its_readers_is_missed_and_read_again(
    nemesis: Nemesis,
) -> None:
    """What is accepted meanwhile lies in ``adrelay.unrouted``, where the alert points."""
    world = nemesis.world
    operator = world.servers.services.operator

    async def delete() -> bool:
        await asyncio.to_thread(operator.call, "DELETE", "queues", world.vhost, QUEUE)
        try:
            await world.load.burst(Way.AMQP)
            await world.load.burst(Way.HTTP)
            await asyncio.gather(
                *(world.processes[name].ready(20, status=503) for name in ("one", "two"))
            )
        finally:
            await declare_topology(url_as(OPS_USER, world.settings.rabbitmq_url))
        world.aside |= await _take_unrouted(nemesis)
        return len(world.aside) > 0

    # The load rests at the deletion: what a queue holds goes with it, confirmed or not.
    await nemesis.strike("RabbitMQ queue deleted", delete, quiet=True)


async def _alarmed(nemesis: Nemesis, sign: str) -> bool:
    operator = nemesis.world.servers.services.operator
    nodes = await asyncio.to_thread(operator.call, "GET", "nodes")
    return bool(nodes[0].get(sign))


async def _calm(nemesis: Nemesis, sign: str) -> bool:
    return not await _alarmed(nemesis, sign)


async def _outbox_holds(nemesis: Nemesis) -> bool:
    return await nemesis.world.count("select count(*) from outbox") > 0


async def _take_unrouted(nemesis: Nemesis) -> set[str]:
    ids: set[str] = set()
    async with nemesis.world.broker() as broker, broker.channel() as channel:
        queue = await channel.get_queue(topology.UNROUTED)
        while (message := await queue.get(fail=False, timeout=10)) is not None:
            ids.add(str(orjson.loads(message.body)["id"]))
            await message.ack()
    return ids
