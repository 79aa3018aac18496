"""A lost path is noticed, though the log and a foreign queue take everything, and costs nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractConnection
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsReported
from events.envelope import Event
from infra.amqp import topology, topology_declaration
from infra.amqp.message import build_message
from infra.amqp.permissions import OPS_USER
from infra.commands.migrate import release
from infra.commands.requeue_unrouted import send_again_from_log
from infra.errors import Transient
from infra.messaging import outbox
from infra.messaging.context import Context
from infra.messaging.outbox_relay import relay_once
from infra.messaging.topology_monitor import check_once
from infra.resources import Resources
from infra.settings import Settings
from tests.fork_server import run_module
from tests.infra.ledger import (
    QUEUE,
    consuming,
    count,
    create,
    depth,
    publish,
    report,
    until,
    written,
)
from tests.infra.messaging.test_upstream import note
from tests.services import as_user, environment

REPORTED = "campaign.metrics_reported.v1"
ALL_WORK = set(topology.WORK_QUEUE_NAMES)

Break = Callable[[AbstractChannel], Awaitable[object]]


@pytest.fixture(autouse=True)
async def _foreign(broker: AbstractConnection) -> AsyncIterator[None]:
    """A foreign queue takes everything, so ``mandatory`` reports nothing; repairs afterwards."""
    async with broker.channel() as channel:
        queue = await channel.declare_queue("foreign", durable=True)
        for exchange in (topology.EVENTS_EXCHANGE, topology.DEAD_LETTER_EXCHANGE):
            await queue.bind(exchange, "#")
    yield
    await repair(broker)


async def repair(broker: AbstractConnection) -> None:
    """Declare all; what is there with other arguments has to go first."""
    async with broker.channel() as channel:
        await channel.exchange_delete(topology.WORK_EXCHANGE)
    await topology_declaration.declare(broker)


def unbind(exchange: str, queue: str, key: str) -> Break:
    async def act(channel: AbstractChannel) -> None:
        await (await channel.get_queue(queue)).unbind(exchange, key)

    return act


def delete_exchange(*names: str) -> Break:
    async def act(channel: AbstractChannel) -> None:
        for name in names:
            await channel.exchange_delete(name)

    return act


def delete_queue(name: str) -> Break:
    return lambda channel: channel.queue_delete(name)


async def detach_work(channel: AbstractChannel) -> None:
    work = await channel.get_exchange(topology.WORK_EXCHANGE)
    await work.unbind(topology.EVENTS_EXCHANGE, "#")


async def work_without_alternate(channel: AbstractChannel) -> None:
    await channel.exchange_delete(topology.WORK_EXCHANGE)
    await channel.declare_exchange(
        topology.WORK_EXCHANGE, ExchangeType.TOPIC, durable=True, internal=True
    )


LOSSES = {
    "adrelay.work is deleted": (delete_exchange(topology.WORK_EXCHANGE), ALL_WORK),
    "adrelay.work is no longer bound": (detach_work, ALL_WORK),
    "one binding": (unbind(topology.WORK_EXCHANGE, QUEUE, f"{REPORTED}.#"), {QUEUE}),
    "unrouted and a binding": (delete_exchange(topology.UNROUTED), {topology.UNROUTED}),
    "the queue unrouted": (delete_queue(topology.UNROUTED), {topology.UNROUTED}),
    "no alternate exchange": (work_without_alternate, ALL_WORK),
    "a work queue": (delete_queue(QUEUE), {QUEUE}),
    "the way back": (unbind(topology.RETURN_EXCHANGE, QUEUE, QUEUE), {QUEUE}),
    "adrelay.back": (delete_exchange(topology.RETURN_EXCHANGE), ALL_WORK),
    "the way of dead letters": (
        unbind(topology.DEAD_LETTER_EXCHANGE, f"{QUEUE}.dead", QUEUE),
        {QUEUE},
    ),
    "adrelay.dead": (delete_exchange(topology.DEAD_LETTER_EXCHANGE), ALL_WORK),
    "a retry tier": (delete_queue("adrelay.retry.5s"), ALL_WORK),
    "a retry tier's binding": (unbind("adrelay.retry.5s", "adrelay.retry.5s", ""), ALL_WORK),
    "the log's binding": (
        unbind(topology.EVENTS_EXCHANGE, topology.EVENT_LOG, "#"),
        {topology.EVENT_LOG},
    ),
    "the log": (delete_queue(topology.EVENT_LOG), {topology.EVENT_LOG}),
    "the entrance": (delete_exchange(topology.EVENTS_EXCHANGE), ALL_WORK | {topology.EVENT_LOG}),
    "requests": (delete_exchange(topology.REQUEST_EXCHANGE), {"auth.session"}),
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_every_lost_part_is_noticed_and_then_that_it_is_back(
    settings: Settings, broker: AbstractConnection, engine: AsyncEngine, loss: str
) -> None:
    act, expected = LOSSES[loss]
    whole = await check_once(settings, engine)
    assert whole is not None
    assert whole.missing == ()
    async with broker.channel() as channel:
        await act(channel)
    found = await check_once(settings, engine)
    assert found is not None
    # With an exchange or the log go the bindings that keep facts from being unrouted.
    assert expected <= found.broken <= expected | {topology.UNROUTED}
    assert found.lost_since is not None
    assert expected <= found.lost_paths
    await repair(broker)
    repaired = await check_once(settings, engine)
    assert repaired is not None
    assert repaired.broken == frozenset()
    assert repaired.lost_paths == found.lost_paths  # until it has been recovered


async def test_what_was_accepted_meanwhile_comes_back_from_the_log(
    settings: Settings, resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await create(engine)
    await check_once(settings, engine)
    async with consuming(resources, note):
        await publish(broker, report(1))
        await until(lambda: _are(engine, ["e-1"]))
    async with broker.channel() as channel:
        await channel.exchange_delete(topology.WORK_EXCHANGE)
        await publish(broker, report(2), report(3), b"no event")
        assert await depth(broker, QUEUE) == 0
        # The release step itself sees what it is about to repair.
        await release(as_user(OPS_USER, settings))
        await publish(broker, report(4))
        words = ("infra.commands", "broker", "requeue-unrouted")
        done = await asyncio.to_thread(
            run_module, *words, env=environment(as_user(OPS_USER, settings))
        )
    assert done.returncode == 0
    first, second = done.stdout.splitlines()
    assert first == "sent again: 0; wanted by no queue, and still there: 0"
    assert second.startswith("sent again from the log since ")
    assert second.endswith(": 4")  # of which the inbox drops the last, which is in its queue
    await until(lambda: _relayed_all(resources))
    async with consuming(resources, note):
        await until(lambda: _are(engine, ["e-1", "e-2", "e-3", "e-4"]))
        await until(lambda: _depth_is(broker, topology.dead_queue(QUEUE), 1))
    assert (await send_again_from_log(as_user(OPS_USER, settings), engine))[0] == 0


async def test_what_waited_in_a_deleted_queue_comes_back_too(
    settings: Settings, resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await create(engine)
    await publish(broker, report(11, id="waits-1"))
    await until(lambda: _depth_is(broker, QUEUE, 1))
    await check_once(settings, engine)
    async with broker.channel() as channel:
        await channel.queue_delete(QUEUE)
    await release(as_user(OPS_USER, settings))
    assert (await send_again_from_log(as_user(OPS_USER, settings), engine))[0] >= 1
    await until(lambda: _relayed_all(resources))
    async with consuming(resources, note):
        await until(lambda: _has(engine, "waits-1"))


async def test_nothing_is_published_over_a_broken_path(
    settings: Settings, resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await check_once(settings, engine)
    async with broker.channel() as channel:
        await unbind(topology.WORK_EXCHANGE, QUEUE, f"{REPORTED}.#")(channel)
    await check_once(settings, engine)
    async with engine.begin() as tx:
        await outbox.add(tx, [build_message(report(1))])
    assert await relay_once(resources) == 0
    await topology_declaration.declare(broker)
    await check_once(settings, engine)
    assert await relay_once(resources) == 1
    assert await depth(broker, QUEUE) == 1


async def test_a_retry_waits_for_its_path(
    settings: Settings, resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await create(engine)
    await check_once(settings, engine)
    failing = True

    async def fail_at_first(events: list[CampaignMetricsReported], ctx: Context) -> Sequence[Event]:
        if failing:
            raise Transient("not yet")
        return await note(events, ctx)

    async with broker.channel() as channel:
        foreign = await channel.get_queue("foreign")
        for tier in topology.RETRY_TIERS:
            exchange = topology.retry_exchange(tier)
            await foreign.bind(exchange)
            await unbind(exchange, exchange, "")(channel)
    await check_once(settings, engine)
    async with consuming(resources, fail_at_first):
        await publish(broker, report(1))
        await until(_is_paused)
        failing = False
        await repair(broker)
        await check_once(settings, engine)
        await until(lambda: _are(engine, ["e-1"]))


async def _is_paused() -> bool:
    return REGISTRY.get_sample_value("adrelay_consumer_waiting", {"queue": QUEUE}) == 1


async def _are(engine: AsyncEngine, ids: list[str]) -> bool:
    return await written(engine) == ids


async def _has(engine: AsyncEngine, event_id: str) -> bool:
    return event_id in await written(engine)


async def _depth_is(broker: AbstractConnection, queue: str, messages: int) -> bool:
    return await depth(broker, queue) == messages


async def _relayed_all(resources: Resources) -> bool:
    await relay_once(resources)
    return await count(resources.engine, "select count(*) from outbox") == 0
