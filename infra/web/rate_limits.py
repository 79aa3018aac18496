"""Rate limits of routes: the rules that the route table names, and how HTTP reports them.

Counted in Redis for all processes together, by account or API key, else by address (IPv6: by /64
network, since a subscriber has all of it):

    API             every request
    REGISTRATION    every request, and registrations by address; failures of one with an
                    Idempotency-Key as those of LOGIN
    LOGIN           every request; failures by address, and by address and e-mail
    REFRESH         every request; failures by address
    PASSWORD        every request; failures by account

Counted in the memory of each process, since they arrive by thousands a second; each of several
processes of a port (``WEB_PROCESSES``) has its part:

    WEBHOOKS        requests and bytes of a source, after its signature was verified
    EVENTS          requests and bytes of an API key

UNLIMITED routes are cheaper to answer than to count. On every route a request that fails
authentication counts as one of API, by address.
"""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from time import monotonic
from unicodedata import normalize

from aiohttp import web
from redis.asyncio import Redis

from infra.ratelimit.limiter import SharedLimiter, put_bounded
from infra.ratelimit.policies import (
    COUNTERS,
    RateLimitPolicy,
    RateLimitStatus,
    load_policies,
)
from infra.ratelimit.token_bucket import BucketSet
from infra.security.email_address import InvalidEmail, normalise_email
from infra.settings import Settings
from infra.web.errors import HttpError
from infra.web.rate_limit_headers import rate_limit_headers, too_many_requests

IPV6_PREFIX_LENGTH = 64  # bits; one subscriber's network
LOG_INTERVAL = 10.0  # seconds between two log lines about one policy
# Codes of the errors that count as failed guesses.
FAILURE_CODES = {"INVALID_CREDENTIALS", "INVALID_TOKEN", "TOKEN_REUSED", "EMAIL_TAKEN"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RateLimitRule:
    """Names of policies, by what they count.

    ``requests``: all requests of a client. ``failures``: its failed guesses. ``targeted``: its
    failed guesses at one target (an e-mail address). ``buckets``: the handler takes from these.
    """

    requests: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    targeted: tuple[str, ...] = ()
    buckets: tuple[str, ...] = ()


API = RateLimitRule(("api",))
LOGIN = RateLimitRule(("api",), failures=("login-address",), targeted=("login",))
REGISTRATION = RateLimitRule(
    ("api", "registration"), failures=LOGIN.failures, targeted=LOGIN.targeted
)
REFRESH = RateLimitRule(("api",), failures=("refresh",))
PASSWORD = RateLimitRule(("api",), failures=("password",))
WEBHOOKS = RateLimitRule(buckets=("webhook-requests", "webhook-bytes"))
EVENTS = RateLimitRule(buckets=("event-requests", "event-bytes"))
UNLIMITED = RateLimitRule()


class RateLimiter:
    """The counters of the ingress process."""

    def __init__(self, settings: Settings, redis: Redis, key: bytes, share: int = 1) -> None:
        """Start with empty local counters, of one of ``share`` processes.

        Raises ``ValueError`` for a malformed rate.
        """
        self._share = share
        self._policies = load_policies(settings)
        self._shared = SharedLimiter(redis, key, settings.redis_timeout, share)
        self._buckets: dict[tuple[tuple[str, ...], str], BucketSet] = {}
        self._log_after: dict[str, float] = {}

    def scope(self, rule: RateLimitRule, client: str) -> "RateLimitScope":
        """Start counting one request of ``client``."""
        return RateLimitScope(self, rule, client)

    def take(self, rule: RateLimitRule, sender: str, size: int) -> None:
        """Take a request of ``size`` bytes from a sender's buckets; raises ``HttpError`` (429)."""
        key = (rule.buckets, sender)
        buckets = self._buckets.get(key)
        if buckets is None:
            buckets = BucketSet(self.get_policies(rule.buckets), self._share)
            put_bounded(self._buckets, key, buckets)
        status = buckets.take(size)
        if status is not None:
            COUNTERS[status.policy.name, "refused"].inc()
            raise too_many_requests(status)

    async def count(self, policy: RateLimitPolicy, key: str) -> RateLimitStatus | None:
        """Count one for ``key``; None if the check was skipped because Redis is down."""
        status = await self._shared.take(policy, key)
        now = monotonic()
        if status and not status.granted and now >= self._log_after.get(policy.name, 0.0):
            self._log_after[policy.name] = now + LOG_INTERVAL
            client = key.partition("\0")[0]
            log.warning("a rate limit is reached", extra={"code": policy.name, "principal": client})
        return status

    async def give_back(self, status: RateLimitStatus, key: str) -> RateLimitStatus:
        """Undo a ``count``; returns the status afterwards."""
        return await self._shared.give_back(status, key)

    def get_policies(self, names: Sequence[str]) -> list[RateLimitPolicy]:
        """Return the named policies, without those that are switched off."""
        return [self._policies[name] for name in names if name in self._policies]


class RateLimitScope:
    """The counts of one request, and what is left after it."""

    __slots__ = ("_client", "_limiter", "_rule", "_statuses")

    def __init__(self, limiter: RateLimiter, rule: RateLimitRule, client: str) -> None:
        """Start with nothing counted."""
        self._limiter = limiter
        self._rule = rule
        self._client = client
        self._statuses: dict[str, RateLimitStatus] = {}

    async def count_request(self) -> None:
        """Count the request; raises an ``HttpError`` (429)."""
        for policy in self._limiter.get_policies(self._rule.requests):
            await self._count(policy, self._client)

    @asynccontextmanager
    async def count_failure(self, target: str = "") -> AsyncIterator[None]:
        """Run the block unless too many guesses have failed; only a failure stays counted.

        A failure is an ``HttpError`` of the block with a code of ``FAILURE_CODES``. Raises an
        ``HttpError`` (429) before the block.
        """
        keys = {
            self._rule.failures: self._client,
            self._rule.targeted: f"{self._client}\0{target}",
        }
        counted: list[tuple[RateLimitPolicy, str]] = []
        failed = False
        try:
            for names, key in keys.items():
                for policy in self._limiter.get_policies(names):
                    counted.append((policy, key))
                    await self._count(policy, key)
            yield
        except HttpError as error:
            failed = error.code in FAILURE_CODES
            raise
        finally:
            if not failed:
                for policy, key in counted:
                    await self._give_back(policy, key)

    def add_headers(self, response: web.StreamResponse) -> None:
        """Add what is left to the headers of a response."""
        if self._statuses:
            response.headers.update(rate_limit_headers(tuple(self._statuses.values())))

    async def _count(self, policy: RateLimitPolicy, key: str) -> None:
        status = await self._limiter.count(policy, key)
        if status is None:
            return
        self._statuses[policy.name] = status
        if not status.granted:
            raise too_many_requests(status)

    async def _give_back(self, policy: RateLimitPolicy, key: str) -> None:
        status = self._statuses.get(policy.name)
        if status is not None:
            self._statuses[policy.name] = await self._limiter.give_back(status, key)


def address_key(address: str | None) -> str:
    """Return the key that an address is counted by: its /64 network for IPv6."""
    if address is None:
        return "address:unknown"
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        return f"address:{ip_network((found, IPV6_PREFIX_LENGTH), strict=False)}"
    return f"address:{found}"


def email_key(email: str) -> str:
    """Return one spelling for all that may mean the same mailbox."""
    try:
        email = normalise_email(email)
    except InvalidEmail:
        email = email.strip()
    return normalize("NFKC", email).casefold()
