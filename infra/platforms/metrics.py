"""The metrics of one platform, with their labels bound once."""

from typing import Any

from pybreaker import (
    STATE_CLOSED,
    STATE_HALF_OPEN,
    STATE_OPEN,
    CircuitBreaker,
    CircuitBreakerListener,
)

from infra.errors import Snooze
from infra.metrics import BREAKER_STATE, PLATFORM_CALLS, PLATFORM_OUTCOMES, PLATFORM_SECONDS
from infra.platforms.base import Rejected, RequestUnanswered
from infra.platforms.responses import NotFound

STATE_VALUES = {STATE_CLOSED: 0, STATE_HALF_OPEN: 1, STATE_OPEN: 2}


class PlatformMetrics:
    """Counts the calls to a platform by what became of them."""

    def __init__(self, platform: str) -> None:
        """Bind everything to the platform's name."""
        self._outcomes = {o: PLATFORM_CALLS.labels(platform, o) for o in PLATFORM_OUTCOMES}
        self.seconds = PLATFORM_SECONDS.labels(platform)

    def count(self, error: Exception | None) -> None:
        """Count a call that raised ``error``, or None."""
        self._outcomes[_outcome_of(error)].inc()


class CircuitBreakerGauge(CircuitBreakerListener):
    """Shows a circuit's state as a gauge."""

    def __init__(self, platform: str) -> None:
        """Begin closed."""
        self._gauge = BREAKER_STATE.labels(platform)
        self._gauge.set(0)

    def state_change(self, cb: CircuitBreaker, old_state: Any, new_state: Any) -> None:  # noqa: ANN401, ARG002 - the listener's signature
        """Follow the circuit."""
        self._gauge.set(STATE_VALUES[new_state.name])


def _outcome_of(error: Exception | None) -> str:
    match error:
        case None:
            return "done"
        case Rejected():
            return "refused"
        case NotFound():
            return "gone"
        case RequestUnanswered():
            return "failed"
        case Snooze():
            return "snoozed"
        case _:
            return "failed"
