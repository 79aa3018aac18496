"""Decides whether a failed request means an outage of the platform or fails by itself.

A request without a usable response proves nothing by itself. It costs an attempt only if the
platform has answered another request of the same method since the same request failed before. So
an outage costs no attempts, however few requests are made, and a request that is never answered
uses up its attempts as long as others are answered.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass

from infra.http.client import HttpRequest

MAX_TRACKED_REQUESTS = 10_000  # failed requests
RETRY_SECONDS = (1.0, 5.0, 30.0)  # seconds: after the first failure, the second, and all others

CallKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class FailureStreak:
    """Failures of a request in a row, and the requests of its method answered before."""

    times: int
    answered: int


class FailureTracker:
    """Counts the requests of this process to one platform that had no usable response."""

    def __init__(self) -> None:
        """Start without a failure."""
        self._answered: Counter[str] = Counter()  # by method
        self._failed: OrderedDict[CallKey, FailureStreak] = OrderedDict()

    def answered(self, call: HttpRequest) -> None:
        """Count a response, whatever its status."""
        self._answered[call.method] += 1
        if self._failed:
            self._failed.pop(_key(call), None)

    def failed(self, call: HttpRequest) -> float | None:
        """Count a failure; returns the seconds of a free retry, or None if it costs an attempt."""
        answered, key = self._answered[call.method], _key(call)
        before = self._failed.pop(key, FailureStreak(0, answered))
        self._failed[key] = FailureStreak(before.times + 1, answered)
        if len(self._failed) > MAX_TRACKED_REQUESTS:
            self._failed.popitem(last=False)
        if before.times and answered > before.answered:
            return None
        return RETRY_SECONDS[min(before.times, len(RETRY_SECONDS) - 1)]


def _key(call: HttpRequest) -> CallKey:
    return call.method, call.path, call.headers.get("Idempotency-Key", "")
