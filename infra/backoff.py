"""Waiting longer after each failure, with jitter, up to a bound."""

import asyncio
import random


class Backoff:
    """Doubling waits in seconds, each spread over its upper half; ``reset`` starts over."""

    def __init__(self, *, first: float, longest: float) -> None:
        """Begin with ``first`` seconds and never wait longer than ``longest``."""
        self._first = first
        self._longest = longest
        self._next = first

    def reset(self) -> None:
        """Begin with the first wait again."""
        self._next = self._first

    def step(self) -> float:
        """Tell the next wait, in seconds, and make the one after it longer."""
        wait = self._next * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret
        self._next = min(self._next * 2, self._longest)
        return wait

    async def sleep(self, until: asyncio.Event | None = None) -> None:
        """Wait for one step, or until the event is set."""
        if until is None:
            await asyncio.sleep(self.step())
            return
        waiting = asyncio.ensure_future(until.wait())
        await asyncio.wait({waiting}, timeout=self.step())
        waiting.cancel()
