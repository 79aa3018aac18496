"""How much a caller may ask of a route: words for the route table, and what they mean.

Counted in Redis, for all processes together, by account or key and else by address (of
IPv6 its /64 network, since a subscriber has all of that):

    API             every request
    REGISTRATION    every request, and registrations by address; failures of one with an
                    Idempotency-Key as those of LOGIN
    LOGIN           every request; failures by address, and by address and e-mail
    REFRESH         every request; failures by address
    PASSWORD        every request; failures by account

Counted by each process in its memory, since they come by thousands a second:

    WEBHOOKS        requests and bytes of a source, once their signature is found good
    EVENTS          requests and bytes of an API key

FREE is what is cheaper to answer than to count. Whatever a route's word is, a request that does
not say truly who calls counts as one of API, by address.
"""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from time import monotonic
from unicodedata import normalize
from uuid import UUID

from aiohttp import web
from redis.asyncio import Redis

from handlers.webhooks import SOURCES
from infra.ratelimit.limiter import SharedLimiter, put_bounded
from infra.ratelimit.policies import RateLimitPolicy, RateLimitStatus, load_policies
from infra.ratelimit.token_bucket import BucketSet
from infra.security.email_address import InvalidEmail, normalise_email
from infra.settings import Settings
from workers.ingress.http.errors import HttpError
from workers.ingress.http.quotas import rate_limit_headers, too_many_requests

IPV6_PREFIX_LENGTH = 64  # bits of an IPv6 address that tell one subscriber from another
LOG_INTERVAL = 10.0  # seconds between two lines in the log about one policy
# What a refusal says when the request was a guess that failed.
FAILURE_CODES = {"INVALID_CREDENTIALS", "INVALID_TOKEN", "TOKEN_REUSED", "EMAIL_TAKEN"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RateLimitRule:
    """Names of policies, by what they count.

    ``requests`` count all requests of a caller, ``failures`` those that fail, ``aimed`` those
    that fail at one aim (an e-mail address). ``budget`` is taken from by the route's handler.
    """

    requests: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    aimed: tuple[str, ...] = ()
    budget: tuple[str, ...] = ()


API = RateLimitRule(("api",))
LOGIN = RateLimitRule(("api",), failures=("login-address",), aimed=("login",))
REGISTRATION = RateLimitRule(("api", "registration"), failures=LOGIN.failures, aimed=LOGIN.aimed)
REFRESH = RateLimitRule(("api",), failures=("refresh",))
PASSWORD = RateLimitRule(("api",), failures=("password",))
WEBHOOKS = RateLimitRule(budget=("webhook-requests", "webhook-bytes"))
EVENTS = RateLimitRule(budget=("event-requests", "event-bytes"))
UNLIMITED = RateLimitRule()


class RateLimiter:
    """What the ingress process counts with."""

    def __init__(self, settings: Settings, redis: Redis, key: bytes) -> None:
        """Begin with nothing counted here; raises ``ValueError`` for a rate that is none."""
        self._policies = load_policies(settings)
        self._limiter = SharedLimiter(redis, key, settings.redis_timeout)
        self.webhooks: Mapping[str, BucketSet] = {
            source: self._budget(WEBHOOKS) for source in SOURCES
        }
        self._events: dict[str, BucketSet] = {}
        self._told: dict[str, float] = {}

    def events(self, key_id: UUID) -> BucketSet:
        """Give the budget of an API key."""
        name = key_id.hex
        budget = self._events.get(name)
        if budget is None:
            budget = self._budget(EVENTS)
            put_bounded(self._events, name, budget)
        return budget

    def scope(self, limit: RateLimitRule, who: str) -> "RateLimitScope":
        """Begin to count a request of ``who``."""
        return RateLimitScope(self, self._limiter, limit, who)

    def named(self, names: Sequence[str]) -> list[RateLimitPolicy]:
        """Give those of the policies that are not switched off."""
        return [self._policies[name] for name in names if name in self._policies]

    def refuse(self, status: RateLimitStatus, who: str) -> HttpError:
        """Make a refusal of it, and say so in the log now and then."""
        name, now = status.policy.name, monotonic()
        if now >= self._told.get(name, 0.0):
            self._told[name] = now + LOG_INTERVAL
            log.warning("a rate limit is reached", extra={"code": name, "principal": who})
        return too_many_requests(status)

    def _budget(self, limit: RateLimitRule) -> BucketSet:
        return BucketSet(self.named(limit.budget))


class RateLimitScope:
    """One request: what it has counted for, and what is left."""

    def __init__(
        self, limits: RateLimiter, limiter: SharedLimiter, limit: RateLimitRule, who: str
    ) -> None:
        """Begin with nothing counted."""
        self._limits = limits
        self._limiter = limiter
        self._limit = limit
        self._who = who
        self._statuses: dict[str, RateLimitStatus] = {}

    async def count_request(self) -> None:
        """Count the request; raises an ``HttpError`` (429)."""
        for policy in self._limits.named(self._limit.requests):
            await self._take(policy, self._who)

    @asynccontextmanager
    async def count_failure(self, aim: str = "") -> AsyncIterator[None]:
        """Let a guess through unless too many have failed; only its failure stays counted.

        Raises an ``HttpError`` (429) before the block. A failure is an ``HttpError`` of the block
        with a code of ``FAILURE_CODES``.
        """
        counted: list[tuple[RateLimitPolicy, str]] = []
        keys = ((self._limit.failures, self._who), (self._limit.aimed, f"{self._who}\0{aim}"))
        failed = False
        try:
            for names, who in keys:
                for policy in self._limits.named(names):
                    counted.append((policy, who))
                    await self._take(policy, who)
            yield
        except HttpError as refusal:
            failed = refusal.code in FAILURE_CODES
            raise
        finally:
            if not failed:
                for policy, who in counted:
                    await self._give_back(policy, who)

    def add_headers(self, response: web.StreamResponse) -> None:
        """Tell in an answer's headers what is left."""
        if self._statuses:
            response.headers.update(rate_limit_headers(tuple(self._statuses.values())))

    async def _take(self, policy: RateLimitPolicy, who: str) -> None:
        status = await self._limiter.take(policy, who)
        if status is None:
            return
        self._statuses[policy.name] = status
        if not status.granted:
            raise self._limits.refuse(status, who.partition("\0")[0])

    async def _give_back(self, policy: RateLimitPolicy, who: str) -> None:
        status = self._statuses.get(policy.name)
        if status is not None:
            self._statuses[policy.name] = await self._limiter.give_back(status, who)


def address_key(address: str | None) -> str:
    """Name whoever is at an address."""
    if address is None:
        return "address:unknown"
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        return f"address:{ip_network((found, IPV6_PREFIX_LENGTH), strict=False)}"
    return f"address:{found}"


def email_key(email: str) -> str:
    """Give one spelling for all that may mean the same mailbox."""
    try:
        email = normalise_email(email)
    except InvalidEmail:
        email = email.strip()
    return normalize("NFKC", email).casefold()
