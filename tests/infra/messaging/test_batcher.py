"""How deliveries gather into batches."""

import asyncio

from pamqp.commands import Basic

from infra.messaging.batcher import STREAM_THRESHOLD, Batcher
from infra.messaging.delivery import Delivery


def delivery(tag: int) -> Delivery:
    return Delivery(tag, "q", "x", "k", b"", Basic.Properties(), redelivered=False)


def tags(batch: list[Delivery]) -> list[int]:
    return [item.tag for item in batch]


async def test_a_free_worker_takes_a_single_message_at_once() -> None:
    batcher = Batcher(size=10, wait=60)
    batcher.add(delivery(1))
    async with asyncio.timeout(1):
        assert tags(await batcher.next_batch()) == [1]


async def test_a_batch_is_what_has_arrived_up_to_its_size() -> None:
    batcher = Batcher(size=3, wait=0)
    for tag in range(1, 6):
        batcher.add(delivery(tag))
    assert tags(await batcher.next_batch()) == [1, 2, 3]
    assert tags(await batcher.next_batch()) == [4, 5]


async def test_while_another_batch_is_in_progress_a_small_one_fills_up() -> None:
    batcher = Batcher(size=3, wait=60)
    batcher.busy = True
    batcher.add(delivery(1))
    waiting = asyncio.create_task(batcher.next_batch())
    await asyncio.sleep(0)
    batcher.add(delivery(2))
    await asyncio.sleep(0)
    assert not waiting.done()
    batcher.add(delivery(3))
    async with asyncio.timeout(1):
        assert tags(await waiting) == [1, 2, 3]


async def test_the_wait_ends_when_its_time_is_up() -> None:
    batcher = Batcher(size=3, wait=0.01)
    batcher.busy = True
    batcher.add(delivery(1))
    async with asyncio.timeout(1):
        assert tags(await batcher.next_batch()) == [1]


async def test_a_stream_fills_a_batch_even_for_a_free_worker() -> None:
    batcher = Batcher(size=100, wait=60)

    async def stream() -> None:
        for tag in range(STREAM_THRESHOLD + 1, 60):
            batcher.add(delivery(tag))
            await asyncio.sleep(0)

    for tag in range(1, STREAM_THRESHOLD + 1):
        batcher.add(delivery(tag))
    streaming = asyncio.create_task(stream())
    async with asyncio.timeout(5):
        assert tags(await batcher.next_batch()) == list(range(1, 60))
    await streaming


async def test_a_closed_batcher_gives_what_it_has_and_then_nothing() -> None:
    batcher = Batcher(size=2, wait=60)
    batcher.busy = True
    for tag in (1, 2, 3):
        batcher.add(delivery(tag))
    batcher.close("stopping")
    batcher.close("later reasons do not count")
    assert batcher.closed == "stopping"
    assert tags(await batcher.next_batch()) == [1, 2]
    assert tags(await batcher.next_batch()) == [3]
    assert await batcher.next_batch() == []
