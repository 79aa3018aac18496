"""Deliveries on their way into batches: whatever has arrived, up to a size.

A free worker never waits: it takes what is there, and the next batch gathers while it
works. Only while another batch is under way anyway may a small one linger, to fill up.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from infra.delivery import Delivery


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
        if self._wait and len(self._buffer) < self._size and self._closed is None and busy():
            await self._linger()
        count = min(len(self._buffer), self._size)
        batch = [self._buffer.popleft() for _ in range(count)]
        if len(self._buffer) < self._size and self._closed is None:
            self._full.clear()
        return batch

    async def _linger(self) -> None:
        try:
            async with asyncio.timeout(self._wait):
                await self._full.wait()
        except TimeoutError:
            return
