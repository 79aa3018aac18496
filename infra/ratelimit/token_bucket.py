"""A budget that one process keeps in its memory: generous, and next to free to ask.

A bucket holds one window's amount and fills evenly. It is one number, the moment at which
all that was taken will have been given back (the generic cell rate algorithm, ITU-T I.371,
annex A). Whoever finds anything left may take, and what is taken beyond that is a debt:
so a large body passes a small budget, and the next one waits for it.
"""

from collections.abc import Sequence
from time import monotonic

from infra.ratelimit.policies import Policy, Standing

EASE = 0.01  # parts of an interval that rounding may cost


class Bucket:
    """What is left of a policy for one key."""

    __slots__ = ("_burst", "_interval", "_paid", "_policy", "takes_bytes")

    def __init__(self, policy: Policy) -> None:
        """Begin full."""
        self._policy = policy
        self._interval = policy.seconds / policy.amount
        self._burst = policy.seconds - self._interval * (1 - EASE)
        self._paid = 0.0
        self.takes_bytes = policy.unit == "bytes"

    def is_empty(self, now: float) -> bool:
        """Tell whether nothing is left at ``now`` (monotonic seconds)."""
        return self._paid - now > self._burst

    def take(self, cost: int, now: float) -> None:
        """Take, into debt where need be."""
        self._paid = max(self._paid, now) + cost * self._interval

    def give_back(self) -> None:
        """Take the last unit as not taken."""
        self._paid -= self._interval

    def standing(self, now: float, *, granted: bool) -> Standing:
        """Tell what is left and, where nothing is, how long that lasts."""
        owed = max(0.0, self._paid - now)
        left = max(0, int((self._policy.seconds - owed) / self._interval + EASE))
        wait = self._interval if left else owed - self._burst
        return Standing(self._policy, left, wait, granted=granted)


class Budget:
    """The buckets of one sender: requests, bytes, or both."""

    __slots__ = ("_buckets",)

    def __init__(self, policies: Sequence[Policy]) -> None:
        """Begin full; without policies everything is granted."""
        self._buckets = tuple(Bucket(policy) for policy in policies)

    def take(self, size: int) -> Standing | None:
        """Take a request of ``size`` bytes; None when it is granted, else which policy is spent."""
        now = monotonic()
        for bucket in self._buckets:
            if bucket.is_empty(now):
                return bucket.standing(now, granted=False)
        for bucket in self._buckets:
            bucket.take(size if bucket.takes_bytes else 1, now)
        return None
