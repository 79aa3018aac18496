"""The cooldown, with a clock that the test turns."""

import pytest

from infra.backoff import Cooldown

SECONDS = 5.0


class Clock:
    """Monotonic seconds, moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cooldown(clock: Clock) -> Cooldown:
    return Cooldown(SECONDS, clock)


def test_every_attempt_is_allowed_before_a_failure(cooldown: Cooldown) -> None:
    assert cooldown.allows_attempt()
    assert cooldown.allows_attempt()
    assert (cooldown.is_active, cooldown.remaining) == (False, 0)


def test_no_attempt_is_allowed_until_the_time_is_over(cooldown: Cooldown, clock: Clock) -> None:
    assert cooldown.start()
    clock.now += SECONDS - 1
    assert cooldown.remaining == 1
    assert not cooldown.allows_attempt()


def test_one_caller_may_try_when_the_time_is_over(cooldown: Cooldown, clock: Clock) -> None:
    cooldown.start()
    clock.now += SECONDS
    assert [cooldown.allows_attempt() for _ in range(3)] == [True, False, False]
    clock.now += SECONDS
    assert cooldown.allows_attempt()


def test_a_success_ends_it_at_once(cooldown: Cooldown) -> None:
    cooldown.start()
    assert cooldown.end()
    assert cooldown.allows_attempt()
    assert (cooldown.is_active, cooldown.remaining, cooldown.end()) == (False, 0, False)


def test_a_failure_during_the_cooldown_starts_the_time_again(
    cooldown: Cooldown, clock: Clock
) -> None:
    cooldown.start()
    clock.now += SECONDS - 1
    assert not cooldown.start()
    assert cooldown.remaining == SECONDS


def test_a_wait_that_the_dependency_asks_for_is_kept(cooldown: Cooldown, clock: Clock) -> None:
    cooldown.start(60)
    clock.now += SECONDS
    assert cooldown.remaining == 60 - SECONDS
