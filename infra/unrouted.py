"""Sends again what had lost its queue: ``python -m infra.unrouted``, once the queue is there.

Each message of ``adrelay.unrouted`` goes through the outbox to the queues that want its routing
key today, to each alone, and stays its first publisher's: published anew it would be believed
as if it were ours. What no queue wants stays where it is. To be run with the release step's
user of the broker. Exit status: 0 done, 1 not possible.
"""

import asyncio
import sys
from contextlib import aclosing

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from events.base import now
from infra import outbox, topology
from infra.delivery import Delivery
from infra.errors import Outage
from infra.link import Link, guarded
from infra.queue_reader import read_until_empty
from infra.resources import open_engine
from infra.settings import Settings, load_settings
from infra.settle import again_message


def takers(delivery: Delivery) -> list[str]:
    """Name the queues that want a message: the one it was on its way back to, or by its key."""
    if delivery.returned:
        return [name for name in topology.WORK_QUEUE_NAMES if name == delivery.key]
    parts = delivery.key.split(".", 3)
    kind, platform = ".".join(parts[:3]), ".".join(parts[3:])
    return [
        queue.name
        for queue in topology.WORK_QUEUES
        if kind in {event.event_type() for event in queue.events}
        and queue.platform in (None, platform)
    ]


async def send_again(settings: Settings, engine: AsyncEngine) -> tuple[int, int]:
    """Send again what a queue wants; tells how many went and how many stay.

    A message is taken off the queue once its outbox rows are committed. Raises ``Outage`` or
    what SQLAlchemy raises; the message at hand is then still there.
    """
    link, limit = Link(settings, "unrouted"), settings.broker_timeout
    went = stayed = 0
    try:
        channel, tap = await link.tapped_channel()
        reading = read_until_empty(channel, tap, topology.UNROUTED, limit=limit)
        async with aclosing(reading) as deliveries:
            async for found in deliveries:
                messages = [again_message(found, queue, now()) for queue in takers(found)]
                if not messages:
                    stayed += 1  # given back when the channel closes
                    continue
                async with engine.begin() as tx:
                    await outbox.add(tx, messages)
                await guarded(channel.basic_ack(found.tag, wait=True), limit)
                went += 1
        return went, stayed
    finally:
        await link.close()


async def _run(settings: Settings) -> int:
    engine = open_engine(settings)
    try:
        went, stayed = await send_again(settings, engine)
    except (Outage, SQLAlchemyError, OSError) as error:
        sys.stderr.write(f"not done: {error}\n")
        return 1
    finally:
        await engine.dispose()
    sys.stdout.write(f"sent again: {went}; wanted by no queue, and still there: {stayed}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(_run(load_settings("release"))))
