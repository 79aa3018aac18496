"""Taskiq over aio-pika: one worker process; as a script it fills the queue.

python -m tests.bench.peers.with_taskiq < bodies     one body a line
python -m taskiq worker tests.bench.peers.with_taskiq:broker --workers 1
"""

import asyncio
import sys
from functools import cache

import asyncpg
from taskiq_aio_pika import AioPikaBroker, Queue, QueueType

from tests.bench.peers.work import BROKER, QUEUE, Report, open_pool, record

WINDOW = 200
PREFETCH = 100

broker = AioPikaBroker(BROKER, qos=PREFETCH)
broker = broker.with_queue(Queue(name=QUEUE, type=QueueType.QUORUM, routing_key=QUEUE))


@cache
def pool() -> "asyncio.Task[asyncpg.Pool[asyncpg.Record]]":
    """Open the database once, in the worker's loop."""
    return asyncio.ensure_future(open_pool())


async def handle(body: str) -> None:
    """Do the work."""
    await record(await pool(), Report.model_validate_json(body))


task = broker.task(task_name="record")(handle)


async def main() -> None:
    """Publish a task for each line."""
    await broker.startup()
    lines = sys.stdin.readlines()
    for start in range(0, len(lines), WINDOW):
        window = lines[start : start + WINDOW]
        await asyncio.gather(*(task.kiq(line) for line in window))
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
