"""The event log of a cluster: whether it confirms, and what an operator does where it does not.

After a lost majority the cluster's book may name a dead process as the leader of the stream
(rabbitmq-server, issue 6179), and up to 3.10 each publish looks there: only the first ones of
a channel are confirmed (pull request 9165). Whoever publishes to ``adrelay.events`` waits for
the stream as well. Only another leader mends it.
"""

import asyncio

from aio_pika import Message
from aio_pika.exceptions import AMQPError

from infra.definitions import VHOST
from infra.topology import HISTORY
from tests.chaos.cluster import WHOLE_SECONDS, Cluster
from tests.chaos.nemesis import Nemesis
from tests.chaos.servers import BROKER
from tests.chaos.world import World
from tests.infra.ledger import until
from tests.services import TESTER

CONFIRM_SECONDS = 20.0
PUBLISHES = 3  # on one channel; the first proves nothing
LAST_TO_LOOK = [3, 10]
LOSE_TRACK = """
Name = rabbit_misc:r(<<"{vhost}">>, queue, <<"{queue}">>),
Gone = spawn(fun() -> ok end),
Write = fun() -> rabbit_amqqueue:update(Name, fun(Q) -> amqqueue:set_pid(Q, Gone) end) end,
rabbit_misc:execute_mnesia_transaction(Write).
"""


def looks_in_the_book(cluster: Cluster) -> bool:
    """Tell whether this version asks the book at each publish: later 3.11 and 3.12 do not."""
    version: str = cluster.call("overview")["rabbitmq_version"]
    return [int(part) for part in version.split(".")[:2]] <= LAST_TO_LOOK


def lose_track(cluster: Cluster) -> None:
    """Write a process that is gone into the cluster's book as the leader of the event log."""
    cluster.nodes[0].control("eval", LOSE_TRACK.format(vhost=VHOST, queue=HISTORY))


async def confirm_again(nemesis: Nemesis, cluster: Cluster) -> bool:
    """Do what docs/operator.md says (AdrelayOutboxStuck) where the event log is not confirmed.

    Tells whether it had to be done.
    """
    try:
        await until(lambda: _confirms(nemesis.world), CONFIRM_SECONDS)
    except TimeoutError:
        node = await asyncio.to_thread(cluster.writer, HISTORY)
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
        async with asyncio.timeout(CONFIRM_SECONDS), world.broker() as broker:
            channel = await broker.channel()
            probe = Message(b"", user_id=TESTER)
            for _ in range(PUBLISHES):
                await channel.default_exchange.publish(probe, HISTORY, timeout=5)
    except (TimeoutError, AMQPError):
        return False
    return True
