"""FastStream: a subscriber with a prefetch of a hundred, one transaction an event."""

import asyncio

import uvloop
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue

from tests.bench.peers.work import BROKER, QUEUE, Report, open_pool, record

PREFETCH = 100


async def main() -> None:
    """Consume until the process is ended."""
    pool = await open_pool()
    # Without its line of log for each message, which nobody here writes.
    channel = Channel(prefetch_count=PREFETCH)
    broker = RabbitBroker(BROKER, default_channel=channel, logger=None)
    queue = RabbitQueue(QUEUE, durable=True, queue_type=QueueType.QUORUM)

    async def handle(report: Report) -> None:
        await record(pool, report)

    broker.subscriber(queue)(handle)
    await broker.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
