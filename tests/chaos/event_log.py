"""The event log of a cluster: whether it confirms, and what an operator does where it does not.

After a lost majority the brokers' record of the stream may name a dead process as its leader
(seen on 3.10.8; akin to rabbitmq-server, issue 6179). Up to 3.10 each publish looks there, so
only the first ones of a channel are confirmed (pull request 9165), and a publisher to
``adrelay.events`` waits for the stream as well. Only another leader mends it.
"""

import asyncio

from aio_pika import Message
from aio_pika.exceptions import AMQPError

from infra.amqp.permissions import VHOST
from infra.amqp.topology import EVENT_LOG
from tests.chaos.cluster import WHOLE_SECONDS, Cluster
from tests.chaos.nemesis import Nemesis
from tests.chaos.servers import BROKER
from tests.chaos.world import World
from tests.infra.ledger import until
from tests.services import TESTER

CONFIRM_SECONDS = 20.0
PUBLISHES = 3  # on one channel; the first proves nothing
STALE_RECORD = """
Name = rabbit_misc:r(<<"{vhost}">>, queue, <<"{queue}">>),
Gone = spawn(fun() -> ok end),
Write = fun() -> rabbit_amqqueue:update(Name, fun(Q) -> amqqueue:set_pid(Q, Gone) end) end,
rabbit_misc:execute_mnesia_transaction(Write).
"""


def make_record_stale(cluster: Cluster) -> None:
    """Write a process that is gone into the record as the leader of the event log."""
    cluster.nodes[0].control("eval", STALE_RECORD.format(vhost=VHOST, queue=EVENT_LOG))


async def confirm_again(nemesis: Nemesis, cluster: Cluster) -> bool:
    """Do what docs/operator.md says (AdrelayOutboxStuck) where the event log is not confirmed.

    Tells whether it had to be done.
    """
    try:
        await until(lambda: _confirms(nemesis.world), CONFIRM_SECONDS)
    except TimeoutError:
        node = await asyncio.to_thread(cluster.writer, EVENT_LOG)
        nemesis.report.say("the event log is not confirmed: restarting the broker that leads it")
        await asyncio.to_thread(node.kill, BROKER)
        await asyncio.to_thread(node.start, BROKER)
        await until(lambda: asyncio.to_thread(cluster.is_whole), WHOLE_SECONDS)
        await until(lambda: _confirms(nemesis.world), CONFIRM_SECONDS)
        return True
    return False


async def _confirms(world: World) -> bool:
    """Tell whether what a fresh channel publishes into the event log alone is confirmed."""
    try:
        async with world.broker() as broker:
            channel = await broker.channel()
            probe = Message(b"", user_id=TESTER)
            for _ in range(PUBLISHES):
                await channel.default_exchange.publish(probe, EVENT_LOG, timeout=5)
    except (TimeoutError, AMQPError):
        return False
    return True
