"""The metrics of one platform, with their labels bound once."""

from typing import Any

from pybreaker import (
    STATE_CLOSED,
    STATE_HALF_OPEN,
    STATE_OPEN,
    CircuitBreaker,
    CircuitBreakerListener,
)

from infra.metrics import BREAKER_STATE, PLATFORM_CALLS, PLATFORM_OUTCOMES, PLATFORM_SECONDS
from infra.platforms.results import Failed, NotFound, Rejected, Result, RetryLater, Success

STATE_VALUES = {STATE_CLOSED: 0, STATE_HALF_OPEN: 1, STATE_OPEN: 2}


class PlatformMetrics:
    """Counts the requests to a platform by result and measures their time."""

    def __init__(self, platform: str) -> None:
        """Bind the labels to the platform's name."""
        self._outcomes = {o: PLATFORM_CALLS.labels(platform, o) for o in PLATFORM_OUTCOMES}
        self.seconds = PLATFORM_SECONDS.labels(platform)

    def count(self, result: Result[Any]) -> None:
        """Count a request by its result."""
        self._outcomes[_to_outcome(result)].inc()

    def count_error(self) -> None:
        """Count a request that ended with an unexpected exception."""
        self._outcomes["failed"].inc()


class CircuitBreakerGauge(CircuitBreakerListener):
    """Exports the state of a circuit breaker as a gauge."""

    def __init__(self, platform: str) -> None:
        """Start as closed."""
        self._gauge = BREAKER_STATE.labels(platform)
        self._gauge.set(0)

    def state_change(self, cb: CircuitBreaker, old_state: Any, new_state: Any) -> None:  # noqa: ANN401, ARG002 - the listener's signature
        """Export the new state."""
        self._gauge.set(STATE_VALUES[new_state.name])


def _to_outcome(result: Result[Any]) -> str:
    match result:
        case Success():
            return "done"
        case Rejected():
            return "refused"
        case NotFound():
            return "gone"
        case Failed() | RetryLater(seconds=None):
            return "failed"
        case RetryLater():
            return "snoozed"
