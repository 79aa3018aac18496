"""Plain aio-pika: one transaction an event, a hundred at once."""

import asyncio

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from tests.bench.peers.work import BROKER, QUEUE, Report, open_pool, record

PREFETCH = 100


async def main() -> None:
    """Consume until the process is ended."""
    pool = await open_pool()
    connection = await aio_pika.connect(BROKER)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=PREFETCH)

    async def handle(message: AbstractIncomingMessage) -> None:
        await record(pool, Report.model_validate_json(message.body))
        await message.ack()

    queue = await channel.get_queue(QUEUE)
    await queue.consume(handle)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
