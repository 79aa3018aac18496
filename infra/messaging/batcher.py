"""Collects deliveries into batches: whatever has arrived, up to a size.

A free worker never waits when it has nothing to gain: a message that came alone is a batch at
once. Only while another batch is in progress, or while deliveries arrive in a stream, may a
small batch wait to fill up, for a bounded time.
"""

import asyncio
from collections import deque

from infra.messaging.delivery import Delivery

STREAM_THRESHOLD = 8  # deliveries at once that tell a stream from a few
MAX_BATCH_BYTES = 4 * 1024 * 1024  # of a batch's headers and bodies
POLL_INTERVAL = 0.001  # seconds without a delivery after which a stream has ended


class Batcher:
    """A buffer between the channel's callback and the reader.

    The prefetch bounds it, and the bytes that a connection holds (``infra.amqp.flow_control``).
    """

    def __init__(self, size: int, wait: float) -> None:
        """``size`` events a batch at most; ``wait`` seconds that a small batch may wait."""
        self.busy = False  # whether another batch is in progress; set by the owner
        self._size = size
        self._wait = wait
        self._buffer: deque[Delivery] = deque()
        self._bytes = 0  # of what is in the buffer
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self._closed: str | None = None

    @property
    def closed(self) -> str | None:
        """Why deliveries are no longer added, or None."""
        return self._closed

    def __len__(self) -> int:
        """How many deliveries wait for a batch."""
        return len(self._buffer)

    def add(self, delivery: Delivery) -> None:
        """Add a delivery; called from the channel's callback."""
        self._buffer.append(delivery)
        self._bytes += delivery.weight
        self._arrived.set()
        if len(self._buffer) >= self._size or self._bytes >= MAX_BATCH_BYTES:
            self._full.set()

    def close(self, reason: str) -> None:
        """End the batches after what is in the buffer; the first reason stays."""
        self._closed = self._closed or reason
        self._arrived.set()
        self._full.set()

    async def next_batch(self) -> list[Delivery]:
        """Give the next batch, in order of arrival; empty once closed and used up."""
        while not self._buffer and self._closed is None:
            self._arrived.clear()
            await self._arrived.wait()
        if self._wait and self._is_small():
            if self.busy:
                await self._wait_until_full()
            elif len(self._buffer) >= STREAM_THRESHOLD:
                await self._wait_for_stream()
        batch = self._take()
        if self._is_small():
            self._full.clear()
        return batch

    def _take(self) -> list[Delivery]:
        """Take a batch off the buffer: up to its size and its bytes, one delivery at least."""
        batch: list[Delivery] = []
        room = MAX_BATCH_BYTES
        while self._buffer and len(batch) < self._size and room > 0:
            delivery = self._buffer.popleft()
            batch.append(delivery)
            room -= delivery.weight
        self._bytes -= MAX_BATCH_BYTES - room
        return batch

    def _is_small(self) -> bool:
        return (
            len(self._buffer) < self._size
            and self._bytes < MAX_BATCH_BYTES
            and self._closed is None
        )

    async def _wait_until_full(self) -> None:
        try:
            async with asyncio.timeout(self._wait):
                await self._full.wait()
        except TimeoutError:
            return

    async def _wait_for_stream(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._wait
        before = 0
        while self._is_small() and len(self._buffer) > before and loop.time() < until:
            before = len(self._buffer)
            await asyncio.sleep(POLL_INTERVAL)
