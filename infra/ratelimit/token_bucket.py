"""Token buckets in the memory of one process, for thousands of checks per second.

A bucket holds the amount of one window and refills evenly. Its state is one number, the time
at which it is full again (the generic cell rate algorithm, ITU-T I.371, annex A). A request passes
if anything is left and may overdraw the bucket: a large body passes a small budget, and
the next one waits until the debt is refilled.
"""

from collections.abc import Sequence
from time import monotonic

from infra.ratelimit.policies import RateLimitPolicy, RateLimitStatus

ROUNDING_TOLERANCE = 0.01  # as a fraction of the interval


class TokenBucket:
    """What is left of a policy for one key."""

    __slots__ = ("_burst", "_full_at", "_interval", "_policy", "counts_bytes")

    def __init__(self, policy: RateLimitPolicy, share: int = 1) -> None:
        """Start with a full bucket; ``share`` processes have an equal part each, at least one."""
        self._policy = policy
        self._interval = policy.seconds / max(1, policy.amount // share)
        self._burst = policy.seconds - self._interval * (1 - ROUNDING_TOLERANCE)
        self._full_at = 0.0
        self.counts_bytes = policy.unit == "bytes"

    def is_empty(self, now: float) -> bool:
        """Whether nothing is left at ``now`` (monotonic seconds)."""
        return self._full_at - now > self._burst

    def take(self, cost: int, now: float) -> None:
        """Take ``cost`` units, into debt if necessary."""
        self._full_at = max(self._full_at, now) + cost * self._interval

    def give_back(self) -> None:
        """Undo taking one unit."""
        self._full_at -= self._interval

    def status(self, now: float, *, granted: bool) -> RateLimitStatus:
        """Return what is left, and the seconds until more is."""
        debt = max(0.0, self._full_at - now)
        left = max(0, int((self._policy.seconds - debt) / self._interval + ROUNDING_TOLERANCE))
        wait = self._interval if left else debt - self._burst
        return RateLimitStatus(self._policy, left, wait, granted=granted)


class BucketSet:
    """The buckets of one sender: requests, bytes, or both."""

    __slots__ = ("_buckets",)

    def __init__(self, policies: Sequence[RateLimitPolicy], share: int = 1) -> None:
        """Start with full buckets; without policies everything is granted."""
        self._buckets = tuple(TokenBucket(policy, share) for policy in policies)

    def take(self, size: int) -> RateLimitStatus | None:
        """Take a request of ``size`` bytes; None if granted, else the status of an empty bucket."""
        now = monotonic()
        for bucket in self._buckets:
            if bucket.is_empty(now):
                return bucket.status(now, granted=False)
        for bucket in self._buckets:
            bucket.take(size if bucket.counts_bytes else 1, now)
        return None
