"""Whether a platform is down, or a call fails by itself: told by the calls that it answers.

A call without a usable answer says nothing by itself. It costs an attempt only if the platform
has answered another call of its kind since the same call failed before; so an outage costs no
attempts, however few calls are made, and a call that nobody ever answers ends some time, as
long as others are answered.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass

from infra.http.client import HttpRequest

MAX_TRACKED_REQUESTS = 10_000  # calls that failed
RETRY_SECONDS = (1.0, 5.0, 30.0)  # seconds: after the first failure, the second, and all others

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class FailureStreak:
    """How often a call failed in a row, and how many of its kind were answered until then."""

    times: int
    answered: int


class FailureTracker:
    """The calls to one platform that had no usable answer, of this process."""

    def __init__(self) -> None:
        """Know of no failure."""
        self._answered: Counter[str] = Counter()  # by method
        self._failed: OrderedDict[Key, FailureStreak] = OrderedDict()

    def answered(self, call: HttpRequest) -> None:
        """Note that the platform has answered, whatever it said."""
        self._answered[call.method] += 1
        if self._failed:
            self._failed.pop(_key(call), None)

    def failed(self, call: HttpRequest) -> float | None:
        """Note a failure; gives the seconds to wait at no cost, or None if it costs an attempt."""
        answered, key = self._answered[call.method], _key(call)
        before = self._failed.pop(key, FailureStreak(0, answered))
        self._failed[key] = FailureStreak(before.times + 1, answered)
        if len(self._failed) > MAX_TRACKED_REQUESTS:
            self._failed.popitem(last=False)
        if before.times and answered > before.answered:
            return None
        return RETRY_SECONDS[min(before.times, len(RETRY_SECONDS) - 1)]


def _key(call: HttpRequest) -> Key:
    return call.method, call.path, call.headers.get("Idempotency-Key", "")
