"""Deliveries on their way into batches: whatever has arrived, up to a size.

A free worker never waits when it has nothing to gain: a message that came alone is a batch
at once. Only while another batch is under way anyway, or while deliveries keep pouring in,
may a small batch linger to fill up, for a bounded time.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from infra.delivery import Delivery

FLOWING = 8  # deliveries at once that tell a stream from a few
TICK = 0.001  # seconds without a delivery after which a stream has ended


class Intake:
    """A buffer between the channel's callback and the worker; the prefetch bounds it."""

    def __init__(self, size: int, wait: float) -> None:
        """``size`` events a batch at most; ``wait`` seconds that a small batch may linger."""
        self._size = size
        self._wait = wait
        self._buffer: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self._closed: str | None = None

    @property
    def closed(self) -> str | None:
        """Why nothing more is taken in, or None."""
        return self._closed

    def put(self, delivery: Delivery) -> None:
        """Take in a delivery; called from the channel's reader."""
        self._buffer.append(delivery)
        self._arrived.set()
        if len(self._buffer) >= self._size:
            self._full.set()

    def close(self, reason: str) -> None:
        """Take no more; what was taken in can still be had."""
        self._closed = self._closed or reason
        self._arrived.set()
        self._full.set()

    def discard(self) -> None:
        """Forget what was taken in: the broker has it again."""
        self._buffer.clear()

    async def next(self, busy: Callable[[], bool]) -> list[Delivery]:
        """Give the next batch, in order of arrival; empty once closed and used up.

        ``busy`` tells whether another batch is under way.
        """
        while not self._buffer and self._closed is None:
            self._arrived.clear()
            await self._arrived.wait()
        if self._wait and self._is_small():
            if busy():
                await self._linger()
            elif len(self._buffer) >= FLOWING:
                await self._linger_while_flowing()
        count = min(len(self._buffer), self._size)
        batch = [self._buffer.popleft() for _ in range(count)]
        if len(self._buffer) < self._size and self._closed is None:
            self._full.clear()
        return batch

    def _is_small(self) -> bool:
        return len(self._buffer) < self._size and self._closed is None

    async def _linger(self) -> None:
        try:
            async with asyncio.timeout(self._wait):
                await self._full.wait()
        except TimeoutError:
            return

    async def _linger_while_flowing(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._wait
        before = 0
        while self._is_small() and len(self._buffer) > before and loop.time() < until:
            before = len(self._buffer)
            await asyncio.sleep(TICK)
