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
from infra.ratelimit.limiter import Limiter, remember
from infra.ratelimit.policies import Policy, Standing, policies_of
from infra.ratelimit.token_bucket import Budget
from infra.security.email_address import InvalidEmail, normalise_email
from infra.settings import Settings
from workers.ingress.http.errors import Refusal
from workers.ingress.http.quotas import fields, too_many

SUBSCRIBER = 64  # bits of an IPv6 address that tell one subscriber from another
TELLING = 10.0  # seconds between two lines in the log about one policy
# What a refusal says when the request was a guess that failed.
FAILURES = {"INVALID_CREDENTIALS", "INVALID_TOKEN", "TOKEN_REUSED", "EMAIL_TAKEN"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limit:
    """Names of policies, by what they count.

    ``requests`` count all requests of a caller, ``failures`` those that fail, ``aimed`` those
    that fail at one aim (an e-mail address). ``budget`` is taken from by the route's handler.
    """

    requests: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    aimed: tuple[str, ...] = ()
    budget: tuple[str, ...] = ()


API = Limit(("api",))
LOGIN = Limit(("api",), failures=("login-address",), aimed=("login",))
REGISTRATION = Limit(("api", "registration"), failures=LOGIN.failures, aimed=LOGIN.aimed)
REFRESH = Limit(("api",), failures=("refresh",))
PASSWORD = Limit(("api",), failures=("password",))
WEBHOOKS = Limit(budget=("webhook-requests", "webhook-bytes"))
EVENTS = Limit(budget=("event-requests", "event-bytes"))
FREE = Limit()


class Limits:
    """What the ingress process counts with."""

    def __init__(self, settings: Settings, redis: Redis, key: bytes) -> None:
        """Begin with nothing counted here; raises ``ValueError`` for a rate that is none."""
        self._policies = policies_of(settings)
        self._limiter = Limiter(redis, key, settings.redis_timeout)
        self.webhooks: Mapping[str, Budget] = {source: self._budget(WEBHOOKS) for source in SOURCES}
        self._events: dict[str, Budget] = {}
        self._told: dict[str, float] = {}

    def events(self, key_id: UUID) -> Budget:
        """Give the budget of an API key."""
        name = key_id.hex
        budget = self._events.get(name)
        if budget is None:
            budget = self._budget(EVENTS)
            remember(self._events, name, budget)
        return budget

    def visit(self, limit: Limit, who: str) -> "Visit":
        """Begin to count a request of ``who``."""
        return Visit(self, self._limiter, limit, who)

    def named(self, names: Sequence[str]) -> list[Policy]:
        """Give those of the policies that are not switched off."""
        return [self._policies[name] for name in names if name in self._policies]

    def refuse(self, standing: Standing, who: str) -> Refusal:
        """Make a refusal of it, and say so in the log now and then."""
        name, now = standing.policy.name, monotonic()
        if now >= self._told.get(name, 0.0):
            self._told[name] = now + TELLING
            log.warning("a rate limit is reached", extra={"code": name, "principal": who})
        return too_many(standing)

    def _budget(self, limit: Limit) -> Budget:
        return Budget(self.named(limit.budget))


class Visit:
    """One request: what it has counted for, and what is left."""

    def __init__(self, limits: Limits, limiter: Limiter, limit: Limit, who: str) -> None:
        """Begin with nothing counted."""
        self._limits = limits
        self._limiter = limiter
        self._limit = limit
        self._who = who
        self._standings: dict[str, Standing] = {}

    async def enter(self) -> None:
        """Count the request; raises a ``Refusal`` (429)."""
        for policy in self._limits.named(self._limit.requests):
            await self._take(policy, self._who)

    @asynccontextmanager
    async def attempt(self, aim: str = "") -> AsyncIterator[None]:
        """Let a guess through unless too many have failed; only its failure stays counted.

        Raises a ``Refusal`` (429) before the block. A failure is a ``Refusal`` of the block
        with a code of ``FAILURES``.
        """
        counted: list[tuple[Policy, str]] = []
        keys = ((self._limit.failures, self._who), (self._limit.aimed, f"{self._who}\0{aim}"))
        failed = False
        try:
            for names, who in keys:
                for policy in self._limits.named(names):
                    counted.append((policy, who))
                    await self._take(policy, who)
            yield
        except Refusal as refusal:
            failed = refusal.code in FAILURES
            raise
        finally:
            if not failed:
                for policy, who in counted:
                    await self._give_back(policy, who)

    def stamp(self, response: web.StreamResponse) -> None:
        """Tell in an answer's headers what is left."""
        if self._standings:
            response.headers.update(fields(tuple(self._standings.values())))

    async def _take(self, policy: Policy, who: str) -> None:
        standing = await self._limiter.take(policy, who)
        if standing is None:
            return
        self._standings[policy.name] = standing
        if not standing.granted:
            raise self._limits.refuse(standing, who.partition("\0")[0])

    async def _give_back(self, policy: Policy, who: str) -> None:
        standing = self._standings.get(policy.name)
        if standing is not None:
            self._standings[policy.name] = await self._limiter.give_back(standing, who)


def stranger(address: str | None) -> str:
    """Name whoever is at an address."""
    if address is None:
        return "address:unknown"
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        return f"address:{ip_network((found, SUBSCRIBER), strict=False)}"
    return f"address:{found}"


def aim_at(email: str) -> str:
    """Give one spelling for all that may mean the same mailbox."""
    try:
        email = normalise_email(email)
    except InvalidEmail:
        email = email.strip()
    return normalize("NFKC", email).casefold()
