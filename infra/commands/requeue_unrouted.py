"""Sends unrouted messages again, and what was accepted while a path to a queue was broken.

Each message of ``adrelay.unrouted`` goes through the outbox to the queues that want its routing
key today, to each alone, and keeps its first publisher: published again to the exchange it would
count as the workers' own. What no queue wants stays where it is. What was accepted while a path
was broken comes back from the event log (``infra.messaging.log_recovery``). It needs the release
step's user of the broker.
"""

from contextlib import aclosing

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import now
from infra.amqp import topology
from infra.amqp.connection import BrokerConnection, with_broker_timeout
from infra.commands.output import print_error
from infra.errors import Outage
from infra.messaging import outbox
from infra.messaging.authorization import internal_users
from infra.messaging.destination_queues import find_destination_queues
from infra.messaging.event_latency import accepted_at
from infra.messaging.log_recovery import recover
from infra.messaging.queue_drain import read_until_empty
from infra.messaging.republish import requeue_message
from infra.messaging.routing_state import LOG_START, RoutingState, clear_lost, get_routing_state
from infra.messaging.topology_monitor import check_once
from infra.settings import Settings, load_settings
from infra.storage.engine import open_engine


class NotWhole(Exception):
    """A path is still broken: what is sent over it now would be lost again."""


async def send_again(settings: Settings, engine: AsyncEngine) -> tuple[int, int]:
    """Send again what a queue wants; returns how many were sent and how many stay.

    A message is taken off the queue once its outbox rows are committed. Raises ``Outage`` or
    what SQLAlchemy raises; the message at hand is then still there.
    """
    link, limit = BrokerConnection(settings, "unrouted"), settings.broker_timeout
    internal = internal_users(settings)
    went = stayed = 0
    try:
        channel, tap = await link.open_consumer_channel()
        reading = read_until_empty(channel, tap, topology.UNROUTED, timeout=limit)
        async with aclosing(reading) as deliveries:
            async for found in deliveries:
                accepted = accepted_at(found, internal)
                messages = [
                    requeue_message(found, queue, now(), accepted)
                    for queue in find_destination_queues(found)
                ]
                if not messages:
                    stayed += 1  # given back when the channel closes
                    continue
                async with engine.begin() as tx:
                    await outbox.add(tx, messages)
                await with_broker_timeout(channel.basic_ack(found.tag, wait=True), limit)
                went += 1
        return went, stayed
    finally:
        await link.close()


async def send_again_from_log(settings: Settings, engine: AsyncEngine) -> tuple[int, RoutingState]:
    """Send again from the log what lost paths missed; returns how many, and what was lost.

    Raises ``NotWhole`` while a path is broken, ``Outage`` or what SQLAlchemy raises.
    """
    await check_once(settings, engine)  # a part that was repaired a moment ago counts
    async with engine.connect() as connection:
        known = await get_routing_state(connection)
    if known.lost_since is None:
        return 0, known
    if known.broken & known.lost_paths:
        raise NotWhole(f"still missing: {'; '.join(known.missing)}. Run the release step first")
    went = await recover(settings, engine, known)
    async with engine.begin() as tx:
        await clear_lost(tx, known)
    return went, known


async def run() -> int:
    """Send everything again, with the settings of the release step; returns the exit status."""
    settings = load_settings("release")
    engine = open_engine(settings)
    try:
        went, stayed = await send_again(settings, engine)
        recovered, lost = await send_again_from_log(settings, engine)
    except (NotWhole, Outage, SQLAlchemyError, OSError) as error:
        print_error(f"not done: {error}")
        return 1
    finally:
        await engine.dispose()
    print(f"sent again: {went}; wanted by no queue, and still there: {stayed}")
    if lost.lost_since is not None:
        when = (
            "its beginning"
            if lost.lost_since == LOG_START
            else f"{lost.lost_since:%Y-%m-%d %H:%M:%S}Z"
        )
        paths = ", ".join(sorted(lost.lost_paths))
        print(f"sent again from the log since {when}, for {paths}: {recovered}")
    return 0
