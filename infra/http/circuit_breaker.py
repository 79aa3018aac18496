"""A circuit breaker for asyncio: stops calls to a failing dependency and probes it regularly.

    closed ── half of the recent calls failed ──> open ── some seconds ──> half-open
      ^                                            ^                          │
      └────────────── the probe succeeded ─────────┼──────────────────────────┤
                                                   └──── the probe failed ────┘

pybreaker supplies the states, their storage and the listeners. Its call path does not support
coroutines: it counts their creation as a success, lets every caller probe a half-open circuit,
and counts a cancellation as a failure or a success. Therefore the call path is our own:

* admission is decided without awaiting, and half-open admits one probe at a time;
* a result counts only if the circuit has not changed since its call began (generation), so
  a late failure cannot reopen a circuit that has recovered;
* only the given exceptions are failures; a cancellation or anything else is neutral and
  releases the probe;
* the circuit opens by the rate of failures in a sliding window, not by consecutive failures.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pybreaker
from pybreaker import (
    STATE_CLOSED,
    STATE_HALF_OPEN,
    STATE_OPEN,
    CircuitBreakerError,
    CircuitBreakerListener,
    CircuitMemoryStorage,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BreakerConfig:
    """Open when ``rate`` of at least ``calls`` results in ``seconds`` failed."""

    rate: float = 0.5
    calls: int = 5
    seconds: float = 30
    open_seconds: float = 15


class CircuitBreaker:
    """One circuit; belongs to one event loop. ``clock`` returns monotonic seconds."""

    def __init__(
        self,
        name: str,
        failures: tuple[type[Exception], ...],
        *,
        config: BreakerConfig | None = None,
        listeners: Sequence[CircuitBreakerListener] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start closed; ``failures`` are the exceptions that count as failures."""
        self._circuit = pybreaker.CircuitBreaker(
            name=name, listeners=listeners, state_storage=CircuitMemoryStorage(STATE_CLOSED)
        )
        self._failures = failures
        self._config = config or BreakerConfig()
        self._clock = clock
        self._results: deque[tuple[float, bool]] = deque(maxlen=1000)
        self._generation = 0
        self._probing = False
        self._opened_at = 0.0

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half-open``."""
        return self._circuit.current_state

    @property
    def wait(self) -> float:
        """Seconds until a probe may be made; 0 unless open."""
        if self.state != STATE_OPEN:
            return 0.0
        return max(0.0, self._opened_at + self._config.open_seconds - self._clock())

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await ``call()`` if the circuit admits it, and count its result.

        Raises ``pybreaker.CircuitBreakerError`` without calling it otherwise.
        """
        generation = self._admit()
        try:
            value = await call()
        except self._failures as error:
            self._failed(generation, error)
            raise
        except BaseException:
            self._release_probe(generation)
            raise
        self._succeeded(generation)
        return value

    def _admit(self) -> int:
        if self.state == STATE_OPEN and self.wait <= 0:
            self._transition(self._circuit.half_open)
        if self.state == STATE_OPEN or (self.state == STATE_HALF_OPEN and self._probing):
            raise CircuitBreakerError(f"the circuit of {self._circuit.name} is {self.state}")
        self._probing = self.state == STATE_HALF_OPEN
        return self._generation

    def _release_probe(self, generation: int) -> None:
        if generation == self._generation:
            self._probing = False

    def _succeeded(self, generation: int) -> None:
        if generation != self._generation:
            return
        for listener in self._circuit.listeners:
            listener.success(self._circuit)
        if self.state == STATE_HALF_OPEN:
            self._transition(self._circuit.close)
        else:
            self._results.append((self._clock(), True))

    def _failed(self, generation: int, error: Exception) -> None:
        if generation != self._generation:
            return
        for listener in self._circuit.listeners:
            listener.failure(self._circuit, error)
        self._results.append((self._clock(), False))
        if self.state == STATE_HALF_OPEN or self._too_many():
            self._opened_at = self._clock()
            self._transition(self._circuit.open)

    def _too_many(self) -> bool:
        since = self._clock() - self._config.seconds
        while self._results and self._results[0][0] < since:
            self._results.popleft()
        bad = sum(1 for _, good in self._results if not good)
        return len(self._results) >= self._config.calls and (
            bad >= self._config.rate * len(self._results)
        )

    def _transition(self, transition: Callable[[], object]) -> None:
        self._generation += 1
        self._probing = False
        self._results.clear()
        transition()
