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
    intake = Batcher(size=10, wait=60)
    intake.put(delivery(1))
    async with asyncio.timeout(1):
        assert tags(await intake.next(lambda: False)) == [1]


async def test_a_batch_is_what_has_arrived_up_to_its_size() -> None:
    intake = Batcher(size=3, wait=0)
    for tag in range(1, 6):
        intake.put(delivery(tag))
    assert tags(await intake.next(lambda: False)) == [1, 2, 3]
    assert tags(await intake.next(lambda: False)) == [4, 5]


async def test_while_another_batch_is_under_way_a_small_one_fills_up() -> None:
    intake = Batcher(size=3, wait=60)
    intake.put(delivery(1))
    waiting = asyncio.create_task(intake.next(lambda: True))
    await asyncio.sleep(0)
    intake.put(delivery(2))
    await asyncio.sleep(0)
    assert not waiting.done()
    intake.put(delivery(3))
    async with asyncio.timeout(1):
        assert tags(await waiting) == [1, 2, 3]


async def test_lingering_ends_when_its_time_is_up() -> None:
    intake = Batcher(size=3, wait=0.01)
    intake.put(delivery(1))
    async with asyncio.timeout(1):
        assert tags(await intake.next(lambda: True)) == [1]


async def test_a_stream_that_keeps_pouring_fills_a_batch_even_for_a_free_worker() -> None:
    intake = Batcher(size=100, wait=60)

    async def pour() -> None:
        for tag in range(STREAM_THRESHOLD + 1, 60):
            intake.put(delivery(tag))
            await asyncio.sleep(0)

    for tag in range(1, STREAM_THRESHOLD + 1):
        intake.put(delivery(tag))
    pouring = asyncio.create_task(pour())
    async with asyncio.timeout(5):
        assert tags(await intake.next(lambda: False)) == list(range(1, 60))
    await pouring


async def test_a_closed_intake_gives_what_it_has_and_then_nothing() -> None:
    intake = Batcher(size=2, wait=60)
    for tag in (1, 2, 3):
        intake.put(delivery(tag))
    intake.close("stopping")
    intake.close("later reasons do not count")
    assert intake.closed == "stopping"
    assert tags(await intake.next(lambda: True)) == [1, 2]
    assert tags(await intake.next(lambda: True)) == [3]
    assert await intake.next(lambda: True) == []
