"""Waiting after failures: growing waits with jitter, and cooldowns of a dependency that is down."""

import asyncio
import random
import time
from collections.abc import Callable


class Backoff:
    """Doubling waits in seconds, each with jitter over its upper half; ``reset`` starts over."""

    def __init__(self, *, first: float, longest: float) -> None:
        """Start with ``first`` seconds; no wait is longer than ``longest`` seconds."""
        self._first = first
        self._longest = longest
        self._next = first

    def reset(self) -> None:
        """Start with the first wait again."""
        self._next = self._first

    def step(self) -> float:
        """Return the next wait in seconds and double the one after it."""
        wait = self._next * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret
        self._next = min(self._next * 2, self._longest)
        return wait

    async def sleep(self, until: asyncio.Event | None = None) -> None:
        """Wait for one step, or until the event is set."""
        if until is None:
            await asyncio.sleep(self.step())
            return
        await sleep_until(until, self.step())


async def sleep_until(event: asyncio.Event, seconds: float) -> None:
    """Wait ``seconds``, or until the event is set."""
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait({waiting}, timeout=seconds)
    waiting.cancel()


class Cooldown:
    """Keeps callers away from a dependency that has failed, and lets one of them retry it.

        inactive ── start() ──> active ── the time is over: one attempt ──> end() ──> inactive

    It starts at once, after one failure; ``infra.http.circuit_breaker`` counts failures first.
    Belongs to one event loop.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start inactive; ``seconds`` pass between two attempts, by the monotonic ``clock``."""
        self._seconds = seconds
        self._clock = clock
        self._until = 0.0
        self._is_active = False

    @property
    def is_active(self) -> bool:
        """Whether it was started and has not been ended since, even if the time is over."""
        return self._is_active

    @property
    def remaining(self) -> float:
        """Seconds until the next attempt; 0 if one may be made now."""
        return max(0.0, self._until - self._clock()) if self._is_active else 0.0

    def start(self, seconds: float | None = None) -> bool:
        """Note a failure: wait the usual time, or ``seconds``. Returns whether it was inactive."""
        started = not self._is_active
        self._is_active = True
        self._until = self._clock() + (self._seconds if seconds is None else seconds)
        return started

    def end(self) -> bool:
        """Note a success. Returns whether it was active."""
        ended, self._is_active = self._is_active, False
        return ended

    def allows_attempt(self) -> bool:
        """Decide whether this caller may try; while active, one caller in ``seconds`` may."""
        if not self._is_active:
            return True
        if self.remaining > 0:
            return False
        self.start()
        return True
