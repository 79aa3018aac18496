"""The circuit, with a clock that the test turns."""

import asyncio
from collections.abc import Awaitable, Callable

import pybreaker
import pytest
from pybreaker import CircuitBreakerError, CircuitBreakerListener

from infra.http.circuit_breaker import BreakerConfig, CircuitBreaker

THRESHOLD = BreakerConfig(rate=0.5, calls=4, seconds=30, open_seconds=10)


class Down(Exception):
    pass


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Listener(CircuitBreakerListener):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,  # noqa: ARG002 - the listener's signature
        old_state: object,  # noqa: ARG002 - same
        new_state: object,
    ) -> None:
        self.seen.append(getattr(new_state, "name", ""))

    def failure(self, cb: pybreaker.CircuitBreaker, exc: BaseException) -> None:  # noqa: ARG002 - same
        self.seen.append(type(exc).__name__)


async def works() -> str:
    return "answer"


async def fails() -> str:
    raise Down


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker("test", (Down,), config=THRESHOLD, clock=clock)


async def run(breaker: CircuitBreaker, call: Callable[[], Awaitable[str]], times: int = 1) -> None:
    for _ in range(times):
        try:
            await breaker.call(call)
        except Down:
            continue


async def opened(breaker: CircuitBreaker) -> None:
    await run(breaker, fails, 4)
    assert breaker.state == "open"


class Held:
    """A call that is under way until the test lets it end."""

    def __init__(self, breaker: CircuitBreaker, outcome: Callable[[], Awaitable[str]]) -> None:
        self.go = asyncio.Event()
        self.began = asyncio.Event()
        self.task = asyncio.create_task(breaker.call(self._call))
        self._outcome = outcome

    async def _call(self) -> str:
        self.began.set()
        await self.go.wait()
        return await self._outcome()

    async def end(self) -> None:
        self.go.set()
        await asyncio.gather(self.task, return_exceptions=True)


async def under_way(breaker: CircuitBreaker, outcome: Callable[[], Awaitable[str]]) -> Held:
    held = Held(breaker, outcome)
    await held.began.wait()
    return held


async def test_a_call_that_works_gives_its_value(breaker: CircuitBreaker) -> None:
    assert await breaker.call(works) == "answer"
    assert (breaker.state, breaker.wait) == ("closed", 0)


async def test_the_error_that_opens_the_circuit_is_not_replaced(breaker: CircuitBreaker) -> None:
    await run(breaker, fails, 3)
    assert breaker.state == "closed"
    with pytest.raises(Down):
        await breaker.call(fails)
    assert breaker.state == "open"


async def test_half_of_the_calls_failing_opens_though_never_two_in_a_row(
    breaker: CircuitBreaker,
) -> None:
    for _ in range(2):
        await run(breaker, works)
        await run(breaker, fails)
    assert breaker.state == "open"


async def test_a_third_of_the_calls_failing_does_not_open(breaker: CircuitBreaker) -> None:
    for _ in range(20):
        await run(breaker, works, 2)
        await run(breaker, fails)
    assert breaker.state == "closed"


async def test_old_failures_are_forgotten(breaker: CircuitBreaker, clock: Clock) -> None:
    for _ in range(10):
        await run(breaker, fails)
        clock.now += 11
    assert breaker.state == "closed"


async def test_an_open_circuit_calls_nothing_and_says_how_long(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    await opened(breaker)
    clock.now += 4
    assert breaker.wait == 6

    async def never() -> str:
        raise AssertionError

    with pytest.raises(CircuitBreakerError):
        await breaker.call(never)


async def test_half_open_admits_one_probe_and_its_success_closes(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    await opened(breaker)
    clock.now += 10
    probe = await under_way(breaker, works)
    assert breaker.state == "half-open"
    for _ in range(20):
        with pytest.raises(CircuitBreakerError):
            await breaker.call(works)
    await probe.end()
    assert breaker.state == "closed"
    await run(breaker, fails, 3)
    assert breaker.state == "closed"


async def test_a_failed_probe_opens_again_for_the_whole_time(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    await opened(breaker)
    clock.now += 10
    await run(breaker, fails)
    assert (breaker.state, breaker.wait) == ("open", 10)


async def test_a_cancelled_probe_gives_its_permit_back_and_stays_cancelled(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    await opened(breaker)
    clock.now += 10
    probe = await under_way(breaker, works)
    probe.task.cancel()
    await probe.end()
    assert probe.task.cancelled()
    assert breaker.state == "half-open"
    assert await breaker.call(works) == "answer"
    assert breaker.state == "closed"


async def test_cancellation_and_other_errors_count_neither_way(breaker: CircuitBreaker) -> None:
    async def bug() -> str:
        raise KeyError

    await run(breaker, fails, 3)
    for _ in range(20):
        cancelled = await under_way(breaker, works)
        cancelled.task.cancel()
        await cancelled.end()
        with pytest.raises(KeyError):
            await breaker.call(bug)
    assert breaker.state == "closed"
    await run(breaker, fails)
    assert breaker.state == "open"


async def test_a_timeout_around_a_call_stays_a_timeout(breaker: CircuitBreaker) -> None:
    await run(breaker, fails, 3)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await breaker.call(asyncio.Event().wait)
    assert breaker.state == "closed"


async def test_a_late_failure_does_not_reopen_a_circuit_that_recovered(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    late = [await under_way(breaker, fails) for _ in range(9)]
    await opened(breaker)
    clock.now += 10
    await run(breaker, works)
    for call in late:
        await call.end()
    assert breaker.state == "closed"


async def test_a_late_success_does_not_close_a_circuit_that_opened(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    late = await under_way(breaker, works)
    await opened(breaker)
    clock.now += 10
    probe = await under_way(breaker, fails)
    await late.end()
    assert breaker.state == "half-open"
    await probe.end()
    assert breaker.state == "open"


async def test_a_late_end_does_not_give_away_the_permit_of_the_probe(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    late = await under_way(breaker, works)
    await opened(breaker)
    clock.now += 10
    probe = await under_way(breaker, works)
    late.task.cancel()
    await late.end()
    with pytest.raises(CircuitBreakerError):
        await breaker.call(works)
    await probe.end()


async def test_listeners_hear_failures_and_every_change(clock: Clock) -> None:
    listener = Listener()
    breaker = CircuitBreaker("test", (Down,), config=THRESHOLD, listeners=[listener], clock=clock)
    await opened(breaker)
    clock.now += 10
    await run(breaker, works)
    assert listener.seen == ["Down"] * 4 + ["open", "half-open", "closed"]
