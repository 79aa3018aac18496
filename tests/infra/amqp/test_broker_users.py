"""What each user of the broker may do, and above all what it may not, on the real broker."""

import re

import pytest
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import ChannelPreconditionFailed

from events import EVENT_TYPES, INGRESS_EVENTS, UPSTREAM_EVENTS
from events.envelope import Event
from infra.amqp import topology, topology_declaration
from infra.amqp.permissions import (
    CONSOLE_USER,
    INGRESS_USER,
    OPS_USER,
    UPSTREAM_USER,
    WORKERS_USER,
    broker_users,
)
from schemas.types import PLATFORMS
from tests.infra.ledger import QUEUE, depth, report
from tests.infra.parties import CREATE, METRICS, Act, Party, party

REQUESTED = {event for queue in topology.REQUEST_QUEUES for event in queue.events}
EXCHANGES = [exchange.name for exchange in topology_declaration.exchanges()]
QUEUES = [queue.name for queue in topology_declaration.queues()]
BROKERS_OWN = ["amq.topic", "amq.direct", "amq.fanout", "amq.headers"]


def keys_of(event: type[Event]) -> list[str]:
    """List the routing keys that an event may have."""
    kind = event.event_type()
    platforms = PLATFORMS if event.routed_by_platform else ()
    return [kind, *(f"{kind}.{platform}" for platform in platforms)]


ALL_KEYS = {key for event in EVENT_TYPES.values() for key in keys_of(event)}
UPSTREAM_KEYS = {key for event in UPSTREAM_EVENTS for key in keys_of(event)}
INGRESS_KEYS = {key for event in INGRESS_EVENTS for key in keys_of(event)}
REQUEST_KEYS = {key for event in REQUESTED for key in keys_of(event)}
ODD_KEYS = {"", "#", "x", f"{CREATE}\n", f" {CREATE}", f"{CREATE}.claude", f"x.{CREATE}"}


upstream, ingress, console, workers, ops = map(
    party, (UPSTREAM_USER, INGRESS_USER, CONSOLE_USER, WORKERS_USER, OPS_USER)
)


async def _ignore(_: AbstractIncomingMessage) -> None:
    pass


def acts(queue: str) -> dict[str, Act]:
    """List what may be done to a queue, its exchange and its bindings, but publishing."""

    async def read(channel: AbstractChannel) -> None:
        await (await channel.get_queue(queue, ensure=False)).get(fail=False, timeout=10)

    async def consume(channel: AbstractChannel) -> None:
        await channel.set_qos(1)
        source = await channel.get_queue(queue, ensure=False)
        await source.consume(_ignore, timeout=10)

    async def purge(channel: AbstractChannel) -> None:
        await (await channel.get_queue(queue, ensure=False)).purge(timeout=10)

    async def bind(channel: AbstractChannel) -> None:
        target = await channel.get_queue(queue, ensure=False)
        await target.bind(topology.EVENTS_EXCHANGE, "x", timeout=10)

    async def unbind(channel: AbstractChannel) -> None:
        target = await channel.get_queue(queue, ensure=False)
        await target.unbind(topology.EVENTS_EXCHANGE, "x", timeout=10)

    async def bind_exchange(channel: AbstractChannel) -> None:
        target = await channel.get_exchange(topology.RETURN_EXCHANGE, ensure=False)
        await target.bind(topology.EVENTS_EXCHANGE, "x", timeout=10)

    return {
        "read": read,
        "consume": consume,
        "purge": purge,
        "bind": bind,
        "unbind": unbind,
        "bind an exchange": bind_exchange,
        "delete a queue": lambda channel: channel.queue_delete(queue, timeout=10),
        "delete an exchange": lambda channel: channel.exchange_delete(
            topology.DEAD_LETTER_EXCHANGE, timeout=10
        ),
        "declare a queue": lambda channel: channel.declare_queue("mine", durable=True, timeout=10),
        "declare ours": lambda channel: channel.declare_queue(queue, durable=True, timeout=10),
        "declare a temporary queue": lambda channel: channel.declare_queue(exclusive=True),
        "declare an exchange": lambda channel: channel.declare_exchange("mine", timeout=10),
    }


async def test_upstream_publishes_its_topics_and_no_others(
    upstream: Party, broker: AbstractConnection
) -> None:
    taken = {
        key
        for key in sorted(ALL_KEYS | ODD_KEYS)
        if await upstream.may_publish(topology.EVENTS_EXCHANGE, key)
    }
    assert taken == UPSTREAM_KEYS
    assert await depth(broker, topology.UNROUTED) == 0


async def test_upstream_publishes_to_no_other_exchange(upstream: Party) -> None:
    others = [name for name in [*EXCHANGES, *BROKERS_OWN] if name != topology.EVENTS_EXCHANGE]
    for exchange in others:
        for key in (METRICS, CREATE, QUEUE, ""):
            assert not await upstream.may_publish(exchange, key), (exchange, key)


async def test_upstream_reaches_no_queue_past_the_exchanges(
    upstream: Party, broker: AbstractConnection
) -> None:
    for queue in QUEUES:
        assert not await upstream.may_publish("", queue), queue
        if queue != topology.EVENT_LOG:
            assert await depth(broker, queue) == 0


@pytest.mark.parametrize("act", acts(QUEUE))
async def test_upstream_does_nothing_else(upstream: Party, act: str) -> None:
    for queue in (QUEUE, f"{QUEUE}.dead", topology.UNROUTED, topology.EVENT_LOG):
        assert not await upstream.may(acts(queue)[act])


@pytest.mark.parametrize("claimed", [WORKERS_USER, INGRESS_USER, OPS_USER, "somebody"])
async def test_a_forged_user_id_closes_the_channel_and_leaves_nothing(
    upstream: Party, broker: AbstractConnection, claimed: str
) -> None:
    with pytest.raises(ChannelPreconditionFailed, match="user_id property set to"):
        await upstream.publish(report(1), METRICS, user_id=claimed)
    assert await depth(broker, QUEUE) == 0


async def test_the_ingress_publishes_its_events_and_requests_and_no_others(
    ingress: Party,
) -> None:
    keys = sorted(ALL_KEYS | ODD_KEYS)
    events = {key for key in keys if await ingress.may_publish(topology.EVENTS_EXCHANGE, key)}
    requests = {key for key in keys if await ingress.may_publish(topology.REQUEST_EXCHANGE, key)}
    assert (events, requests) == (INGRESS_KEYS, REQUEST_KEYS)
    own = (topology.EVENTS_EXCHANGE, topology.REQUEST_EXCHANGE)
    for exchange in [name for name in [*EXCHANGES, *BROKERS_OWN, ""] if name not in own]:
        assert not await ingress.may_publish(exchange, QUEUE), exchange


async def test_the_console_asks_for_sessions_and_publishes_nothing_else(console: Party) -> None:
    keys = sorted(ALL_KEYS | ODD_KEYS)
    requests = {key for key in keys if await console.may_publish(topology.REQUEST_EXCHANGE, key)}
    assert requests == {"login.requested.v1", "refresh.requested.v1", "logout.requested.v1"}
    others = [name for name in [*EXCHANGES, *BROKERS_OWN, ""] if name != topology.REQUEST_EXCHANGE]
    for exchange in others:
        assert not await console.may_publish(exchange, QUEUE), exchange


async def test_the_workers_publish_every_event_and_no_request(workers: Party) -> None:
    keys = sorted(ALL_KEYS | ODD_KEYS)
    events = {key for key in keys if await workers.may_publish(topology.EVENTS_EXCHANGE, key)}
    assert events == ALL_KEYS - REQUEST_KEYS
    asked = {key for key in keys if await workers.may_publish(topology.REQUEST_EXCHANGE, key)}
    assert asked == set()
    others = {topology.WORK_EXCHANGE, topology.UNROUTED, *BROKERS_OWN}
    assert not any([await workers.may_publish(exchange, QUEUE) for exchange in others])


@pytest.mark.parametrize("act", acts(QUEUE))
async def test_the_ingress_and_the_workers_declare_bind_and_delete_nothing(
    ingress: Party, workers: Party, act: str
) -> None:
    assert not await ingress.may(acts(QUEUE)[act])
    if act not in ("read", "consume", "purge"):
        for queue in (QUEUE, topology.UNROUTED, topology.EVENT_LOG):
            assert not await workers.may(acts(queue)[act])


async def test_the_workers_read_every_queue_that_a_subscription_may_name(workers: Party) -> None:
    names = [*topology.WORK_QUEUE_NAMES, *(queue.name for queue in topology.REQUEST_QUEUES)]
    for queue in [*names, *map(topology.dead_queue, topology.WORK_QUEUE_NAMES)]:
        assert await workers.may(acts(queue)["read"]), queue


def test_the_workers_have_to_do_with_every_queue_that_the_relay_counts() -> None:
    (own,) = (user for user in broker_users() if user.name == WORKERS_USER)
    allowed = [pattern.replace(r"\z", r"\Z") for pattern in (own.read, own.write)]
    for queue in set(QUEUES) - {topology.EVENT_LOG}:
        assert any(re.search(pattern, queue) for pattern in allowed), queue


async def test_operators_declare_and_bind_what_is_ours_and_make_nothing_else(ops: Party) -> None:
    await topology_declaration.declare(ops.connection)
    possible = acts(topology.UNROUTED)
    for act in ("read", "consume", "purge", "bind", "unbind", "declare a temporary queue"):
        assert await ops.may(possible[act]), act
    for act in ("declare a queue", "declare an exchange"):
        assert not await ops.may(possible[act]), act
    assert not await ops.may_publish("", QUEUE)
