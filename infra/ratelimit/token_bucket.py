"""A budget that one process keeps in its memory: generous, and next to free to ask.

A bucket holds one window's amount and fills evenly. It is one number, the moment at which
all that was taken will have been given back (the generic cell rate algorithm, ITU-T I.371,
annex A). Whoever finds anything left may take, and what is taken beyond that is a debt:
so a large body passes a small budget, and the next one waits for it.
"""

from collections.abc import Sequence
from time import monotonic

from infra.ratelimit.policies import RateLimitPolicy, RateLimitStatus

ROUNDING_TOLERANCE = 0.01  # parts of an interval that rounding may cost


class TokenBucket:
    """What is left of a policy for one key."""

    __slots__ = ("_burst", "_interval", "_paid", "_policy", "counts_bytes")

    def __init__(self, policy: RateLimitPolicy) -> None:
        """Begin full."""
        self._policy = policy
        self._interval = policy.seconds / policy.amount
        self._burst = policy.seconds - self._interval * (1 - ROUNDING_TOLERANCE)
        self._paid = 0.0
        self.counts_bytes = policy.unit == "bytes"

    def is_empty(self, now: float) -> bool:
        """Tell whether nothing is left at ``now`` (monotonic seconds)."""
        return self._paid - now > self._burst

    def take(self, cost: int, now: float) -> None:
        """Take, into debt where need be."""
        self._paid = max(self._paid, now) + cost * self._interval

    def give_back(self) -> None:
        """Take the last unit as not taken."""
        self._paid -= self._interval

    def status(self, now: float, *, granted: bool) -> RateLimitStatus:
        """Tell what is left and, where nothing is, how long that lasts."""
        owed = max(0.0, self._paid - now)
        left = max(0, int((self._policy.seconds - owed) / self._interval + ROUNDING_TOLERANCE))
        wait = self._interval if left else owed - self._burst
        return RateLimitStatus(self._policy, left, wait, granted=granted)


class BucketSet:
    """The buckets of one sender: requests, bytes, or both."""

    __slots__ = ("_buckets",)

    def __init__(self, policies: Sequence[RateLimitPolicy]) -> None:
        """Begin full; without policies everything is granted."""
        self._buckets = tuple(TokenBucket(policy) for policy in policies)

    def take(self, size: int) -> RateLimitStatus | None:
        """Take a request of ``size`` bytes; None when it is granted, else which policy is spent."""
        now = monotonic()
        for bucket in self._buckets:
            if bucket.is_empty(now):
                return bucket.status(now, granted=False)
        for bucket in self._buckets:
            bucket.take(size if bucket.counts_bytes else 1, now)
        return None
