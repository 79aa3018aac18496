"""Rate limits that all processes share: fixed windows in Redis, through the library ``limits``.

    limit:LIMITER/<policy>/<HMAC of the client>/<amount>/<multiples>/<unit>   a counter with a TTL

A window starts with the first request that it counts. A request costs one Redis round trip: the end
of a window is asked for once and remembered, and a client whose window is used up is rejected
without Redis until then. The strategies of the library need three round trips for the same
result: ``hit`` returns no count, and ``get_window_stats`` asks twice. No client is named in Redis:
keys are HMACs under a key of the server.

Failures are counted before the attempt and given back when it succeeds, so that of a thousand
simultaneous guesses only the allowed number reaches a password.

While Redis is down, each process counts policies that fail closed in token buckets (the library's
memory storage has no maximum size), and everything else passes. One request per
``RETRY_INTERVAL`` checks whether Redis is back; the others do not wait. Load must not look like an
outage, which would bypass the shared count: at most ``MAX_CONCURRENT`` requests ask Redis at a
time, and local counts are kept when Redis is back.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from typing import TypeVar

from limits.aio.storage import RedisStorage
from redis.asyncio import Redis

from infra import metrics
from infra.backoff import Cooldown
from infra.ratelimit.policies import COUNTERS, RateLimitPolicy, RateLimitStatus
from infra.ratelimit.token_bucket import TokenBucket
from infra.redis_errors import REDIS_ERRORS, describe_redis_error, is_wrong_value

RETRY_INTERVAL = 1.0  # seconds between attempts to reach Redis during an outage
MAX_CONCURRENT = 8  # requests that ask Redis at a time
MAX_KEYS = 10_000  # windows and buckets in memory; the oldest are dropped

K = TypeVar("K")
T = TypeVar("T")

log = logging.getLogger(__name__)


class SharedLimiter:
    """Counts requests and failures; belongs to one event loop."""

    def __init__(self, redis: Redis, key: bytes, timeout: float, share: int = 1) -> None:
        """Count in ``redis``, ``timeout`` seconds per command at most; ``key`` hides clients.

        What is counted locally is divided by ``share``, the number of processes of a port.
        """
        self._share = share
        self._storage = RedisStorage(
            "redis://",
            implementation="redispy",
            key_prefix="limit",
            connection_pool=redis.connection_pool,  # type: ignore[arg-type]  # documented there
        )
        self._key = key
        self._timeout = timeout
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._ends: dict[str, float] = {}  # monotonic seconds, by window
        self._exhausted: dict[str, float] = {}  # the same, of windows that reject
        self._buckets: dict[str, TokenBucket] = {}
        self._cooldown = Cooldown(RETRY_INTERVAL)

    async def take(self, policy: RateLimitPolicy, client: str) -> RateLimitStatus | None:
        """Count one for ``client``; None if Redis is down and the policy fails open."""
        key, now = self._window_key(policy, client), time.monotonic()
        if self._exhausted.get(key, 0.0) > now:
            wait = self._exhausted[key] - now
            status: RateLimitStatus | None = RateLimitStatus(
                policy, 0, wait, granted=False, shared=True
            )
        else:
            counted = await self._ask(key, lambda: self._count(policy, key))
            if counted is None:
                status = self._take_locally(policy, key)
            else:
                status = self._to_status(policy, key, *counted)
        outcome = "unchecked" if status is None else "granted" if status.granted else "refused"
        COUNTERS[policy.name, outcome].inc()
        return status

    async def give_back(self, status: RateLimitStatus, client: str) -> RateLimitStatus:
        """Undo a ``take``; returns the status afterwards."""
        policy = status.policy
        key = self._window_key(policy, client)
        if status.shared:
            await self._ask(key, lambda: self._storage.incr(key, policy.seconds, -1))
        elif status.granted and key in self._buckets:
            self._buckets[key].give_back()
        return replace(status, left=status.left + status.granted)

    async def _count(self, policy: RateLimitPolicy, key: str) -> tuple[int, float]:
        """Return the count of a window and its end; Redis is asked for the end once per window."""
        count = await self._storage.incr(key, policy.seconds)
        now = time.monotonic()
        end = self._ends.get(key, 0.0)
        if count <= 1:  # a new window
            end = now + policy.seconds
        elif end <= now:
            end = now + await self._storage.get_expiry(key) - time.time()
        put_bounded(self._ends, key, end)
        return count, end

    def _to_status(
        self, policy: RateLimitPolicy, key: str, count: int, end: float
    ) -> RateLimitStatus:
        granted = count <= policy.amount
        if not granted and policy.unit == "requests":  # a failure may still be given back
            put_bounded(self._exhausted, key, end)
        left, wait = max(0, policy.amount - count), max(0.0, end - time.monotonic())
        return RateLimitStatus(policy, left, wait, granted=granted, shared=True)

    async def _ask(self, key: str, command: Callable[[], Awaitable[T]]) -> T | None:
        """Run a Redis command about ``key``; None if Redis is down or holds another type there."""
        async with self._slots:
            if not self._cooldown.allows_attempt():
                return None
            try:
                async with asyncio.timeout(self._timeout):
                    result = await command()
            except REDIS_ERRORS as error:
                if is_wrong_value(error):
                    await self._reset(key)
                else:
                    self._mark_down(error)
                return None
        if self._cooldown.end():
            metrics.RATE_LIMITS_LOCAL.set(0)
            log.info("rate limits are shared again")
        return result

    async def _reset(self, key: str) -> None:
        """Delete a key that holds no counter; this request is counted locally."""
        log.warning("a rate limit's counter had another type in Redis and was reset")
        try:
            async with asyncio.timeout(self._timeout):
                await self._storage.clear(key)
        except REDIS_ERRORS as error:
            self._mark_down(error)

    def _take_locally(self, policy: RateLimitPolicy, key: str) -> RateLimitStatus | None:
        if not policy.fails_closed:
            return None
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = TokenBucket(policy, self._share)
            put_bounded(self._buckets, key, bucket)
        now = time.monotonic()
        granted = not bucket.is_empty(now)
        if granted:
            bucket.take(1, now)
        return bucket.status(now, granted=granted)

    def _mark_down(self, error: Exception) -> None:
        if self._cooldown.start():
            metrics.RATE_LIMITS_LOCAL.set(1)
            log.warning("rate limits are local", extra={"reason": describe_redis_error(error)})

    def _window_key(self, policy: RateLimitPolicy, client: str) -> str:
        digest = hmac.digest(self._key, f"limit\0{policy.name}\0{client}".encode(), sha256)
        return policy.item.key_for(policy.name, digest[:16].hex())


def put_bounded(entries: dict[K, T], key: K, value: T) -> None:
    """Set an entry; drop the oldest one at ``MAX_KEYS``."""
    if key not in entries and len(entries) >= MAX_KEYS:
        del entries[next(iter(entries))]
    entries[key] = value
