"""The limit: aiormq hands over messages that nobody looks at, acknowledged 500 at a time."""

import asyncio
import os
import time

import aio_pika
import uvloop
from aiormq.abc import DeliveredMessage

from tests.bench.peers.work import BROKER, QUEUE

COUNT = int(os.environ.get("BENCH_COUNT", "0"))
PREFETCH = 2000
ACKED = 500


async def main() -> None:
    """Drain ``BENCH_COUNT`` messages and print the seconds from the first to the last."""
    connection = await aio_pika.connect(BROKER)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=PREFETCH)
    under = await channel.get_underlay_channel()
    seen, began, done = 0, 0.0, asyncio.Event()

    async def take(message: DeliveredMessage) -> None:
        nonlocal seen, began
        began = began or time.perf_counter()
        seen += 1
        if seen % ACKED == 0 or seen == COUNT:
            await under.basic_ack(message.delivery_tag or 0, multiple=True)
        if seen == COUNT:
            done.set()

    await under.basic_consume(QUEUE, take)
    await done.wait()
    print(time.perf_counter() - began, flush=True)
    await connection.close()


if __name__ == "__main__":
    uvloop.run(main())
