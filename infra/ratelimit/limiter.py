"""Rate limits that all processes share: fixed windows in Redis, by the library ``limits``.

    limit:LIMITER/<policy>/<HMAC of whom>/<amount>/<multiples>/<unit>   a counter that expires

A window begins with the first request that it counts; its own counter and the seconds to go
are all there is. When it ends is remembered here, so a request costs one round trip; a
caller whose window is spent is refused until then without any. Nothing that says who somebody is
stands in Redis: keys are HMACs under a key of the server.

Failures are counted before it is known that they are any, and given back when it turns out
otherwise: of a thousand guesses at once no more than the allowed ones reach a password.

When Redis is gone, guesses are counted by each process for itself, and everything else
passes. One request in a while finds out whether Redis is back; the others do not wait. A
crowd must not look like an outage, which would be a way around the shared count: so no more than
a few ask at a time, and what was counted alone is not forgotten when Redis is back.
"""

import asyncio
import hmac
import logging
import time
from dataclasses import replace
from hashlib import sha256
from typing import TypeVar

from limits.aio.storage import RedisStorage
from redis.asyncio import Redis

from infra import metrics
from infra.ratelimit.policies import COUNTERS, RateLimitPolicy, RateLimitStatus
from infra.ratelimit.token_bucket import TokenBucket
from infra.redis_errors import REDIS_ERRORS, is_wrong_value

RETRY_INTERVAL = 1.0  # seconds between two tries of a Redis that is gone
MAX_CONCURRENT = 8  # requests that ask Redis at a time
MAX_KEYS = 10_000  # windows and buckets; the oldest are forgotten

T = TypeVar("T")

log = logging.getLogger(__name__)


class SharedLimiter:
    """Counts requests and failures; belongs to one event loop."""

    def __init__(self, redis: Redis, key: bytes, timeout: float) -> None:
        """Count in ``redis``, waiting at most ``timeout`` seconds; ``key`` hides who is counted."""
        self._storage = RedisStorage(
            "redis://",
            implementation="redispy",
            key_prefix="limit",
            connection_pool=redis.connection_pool,  # type: ignore[arg-type]  # as its docstring has it
        )
        self._key = key
        self._timeout = timeout
        self._turns = asyncio.Semaphore(MAX_CONCURRENT)
        self._ends: dict[str, float] = {}
        self._spent: dict[str, float] = {}
        self._buckets: dict[str, TokenBucket] = {}
        self._is_gone = False
        self._next_try = 0.0

    async def take(self, policy: RateLimitPolicy, who: str) -> RateLimitStatus | None:
        """Count one for ``who``; None where Redis is gone and the policy lets that pass."""
        key, now = self._name(policy, who), time.monotonic()
        if self._spent.get(key, 0.0) > now:
            wait = self._spent[key] - now
            status: RateLimitStatus | None = RateLimitStatus(
                policy, 0, wait, granted=False, shared=True
            )
        else:
            async with self._turns:
                status = await self._take(policy, key)
        COUNTERS[policy.name, _outcome(status)].inc()
        return status

    async def give_back(self, status: RateLimitStatus, who: str) -> RateLimitStatus:
        """Take what was counted as not counted; gives how it stands then."""
        key = self._name(status.policy, who)
        if status.shared:
            async with self._turns:
                await self._give_back_shared(status.policy, key)
        elif status.granted and key in self._buckets:
            self._buckets[key].give_back()
        return replace(status, left=status.left + status.granted)

    async def _take(self, policy: RateLimitPolicy, key: str) -> RateLimitStatus | None:
        if self._is_redis_down(time.monotonic()):
            return self._take_locally(policy, key)
        try:
            async with asyncio.timeout(self._timeout):
                count = await self._storage.incr(key, policy.seconds)
                ends = await self._end_of(policy, key, count)
        except REDIS_ERRORS as error:
            if is_wrong_value(error):
                await self._replace(key)
            else:
                self._mark_down(error)
            return self._take_locally(policy, key)
        self._mark_up()
        granted = count <= policy.amount
        if not granted and policy.unit == "requests":  # a failure may yet be given back
            put_bounded(self._spent, key, ends)
        left, wait = max(0, policy.amount - count), max(0.0, ends - time.monotonic())
        return RateLimitStatus(policy, left, wait, granted=granted, shared=True)

    async def _give_back_shared(self, policy: RateLimitPolicy, key: str) -> None:
        if self._is_redis_down(time.monotonic()):
            return
        try:
            async with asyncio.timeout(self._timeout):
                await self._storage.incr(key, policy.seconds, -1)
        except REDIS_ERRORS as error:
            if is_wrong_value(error):
                await self._replace(key)
            else:
                self._mark_down(error)

    async def _replace(self, key: str) -> None:
        """Delete a counter that is none, so that it begins again; this one is counted here."""
        log.warning("a rate limit's counter held something else and begins again")
        try:
            async with asyncio.timeout(self._timeout):
                await self._storage.clear(key)
        except REDIS_ERRORS as error:
            self._mark_down(error)

    async def _end_of(self, policy: RateLimitPolicy, key: str, count: int) -> float:
        """Tell when a window ends (monotonic seconds); Redis is asked once for each window."""
        now = time.monotonic()
        ends = self._ends.get(key, 0.0)
        if count <= 1:  # it has begun just now
            ends = now + policy.seconds
        elif ends <= now:
            ends = now + await self._storage.get_expiry(key) - time.time()
        else:
            return ends
        put_bounded(self._ends, key, ends)
        return ends

    def _take_locally(self, policy: RateLimitPolicy, key: str) -> RateLimitStatus | None:
        if not policy.fails_closed:
            return None
        now = time.monotonic()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = TokenBucket(policy)
            put_bounded(self._buckets, key, bucket)
        granted = not bucket.is_empty(now)
        if granted:
            bucket.take(1, now)
        return bucket.status(now, granted=granted)

    def _is_redis_down(self, now: float) -> bool:
        """Tell whether to do without Redis; if it is gone and this one may try, others may not."""
        if not self._is_gone:
            return False
        if now < self._next_try:
            return True
        self._next_try = now + RETRY_INTERVAL
        return False

    def _mark_down(self, error: Exception) -> None:
        self._next_try = time.monotonic() + RETRY_INTERVAL
        if not self._is_gone:
            self._is_gone = True
            metrics.RATE_LIMITS_LOCAL.set(1)
            log.warning("limits are not shared", extra={"reason": type(error).__name__})

    def _mark_up(self) -> None:
        if self._is_gone:
            self._is_gone = False
            metrics.RATE_LIMITS_LOCAL.set(0)
            log.info("limits are shared again")

    def _name(self, policy: RateLimitPolicy, who: str) -> str:
        digest = hmac.digest(self._key, f"limit\0{policy.name}\0{who}".encode(), sha256)
        return policy.item.key_for(policy.name, digest[:16].hex())


def _outcome(status: RateLimitStatus | None) -> str:
    if status is None:
        return "unchecked"
    return "granted" if status.granted else "refused"


def put_bounded(known: dict[str, T], key: str, value: T) -> None:
    """Enter a value; of too many the oldest goes."""
    if key not in known and len(known) >= MAX_KEYS:
        del known[next(iter(known))]
    known[key] = value
