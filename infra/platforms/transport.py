"""A guarded line to a platform: token, timeout, breaker, and silence when it asks for it.

A refusal is an answer: it speaks for the platform, so the breaker takes it for a success.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TypeVar

from aiohttp import ClientSession
from pybreaker import STATE_OPEN, CircuitBreakerError
from pydantic import SecretStr

from infra.errors import Failure, Snooze, Transient
from infra.http.circuit_breaker import Breaker
from infra.http.client import Answer, Call, NoAnswer, fetch
from infra.platforms.base import AccountStuck, CallWaits, Dialect, Unanswered
from infra.platforms.client_credentials import Credentials
from infra.platforms.metrics import PlatformMeters
from infra.platforms.responses import CREDENTIALS_SECONDS, Gone, Patience, judge, understood
from infra.platforms.unanswered_calls import Unheard
from schemas.oauth import AccessToken

T = TypeVar("T")

CONCURRENT_CALLS = 16
# A snooze lasts so long at least.
MIN_SNOOZE_SECONDS = 1.0
# How long a call waits whose account's token was refused and has to be renewed.
RENEWAL_SECONDS = 5.0
OURS: Mapping[str, str] = {"grant_type": "client_credentials"}

REFUSED_CREDENTIALS = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


@dataclass(frozen=True, slots=True)
class Account:
    """Where a platform is and who we are there."""

    url: str
    client_id: str
    client_secret: SecretStr


class Line:
    """The line to one platform; belongs to one event loop."""

    def __init__(
        self,
        dialect: Dialect,
        account: Account,
        session: ClientSession,
        breaker: Breaker,
        meters: PlatformMeters,
    ) -> None:
        """Make a line; nothing is sent yet."""
        self._dialect = dialect
        self._account = account
        self._session = session
        self._breaker = breaker
        self._meters = meters
        self._credentials = Credentials(self._fetch_token)
        self._slots = asyncio.Semaphore(CONCURRENT_CALLS)
        self._quiet_until = 0.0
        self._unheard = Unheard()

    async def call(self, call: Call, read: Callable[[bytes], T], bearer: str | None = None) -> T:
        """Make a call, with this access token or ours, and ``read`` the body of its answer.

        Raises ``AccountStuck`` when that token is refused, and ``Gone``, ``Refused``,
        ``Transient`` or ``Snooze``, as the table above says.
        """
        try:
            async with self._slots:
                value = await self._guarded(call, read, bearer)
        except Exception as error:
            self._meters.count(error)
            raise
        self._meters.count(None)
        return value

    async def aclose(self) -> None:
        """Stop what is under way in the background."""
        await self._credentials.aclose()

    async def _guarded(self, call: Call, read: Callable[[bytes], T], bearer: str | None) -> T:
        wait = self._quiet_until - time.monotonic()
        if wait > 0:
            raise self._snooze("asked for patience", wait)
        try:
            with self._meters.seconds.time():
                result = await self._breaker.run(lambda: self._attempt(call, read, bearer))
        except CircuitBreakerError:
            raise self._snooze("is failing", self._breaker.wait) from None
        except NoAnswer as failure:
            raise self.unanswered(call, failure.reason) from None
        if isinstance(result, Patience) and bearer and result.refusal:
            # It may be about that account alone.
            raise CallWaits(f"{self._dialect.TITLE} {result.reason}", result.seconds)
        if isinstance(result, Patience):
            self._quiet_until = time.monotonic() + result.seconds
            raise self._snooze(result.reason, result.seconds)
        if not isinstance(result, Gone):
            self._unheard.answered(call)
        if isinstance(result, Exception):
            raise result
        return result

    def unanswered(self, call: Call, reason: str) -> Failure:
        """Say what a call without a usable answer means: an outage until others are answered."""
        if self._breaker.state == STATE_OPEN:
            return self._snooze(f"is failing: {reason}", self._breaker.wait)
        reason, seconds = f"{self._dialect.TITLE}: {reason}", self._unheard.failed(call)
        if seconds is None:
            return Transient(reason, code="PLATFORM_FAILED")
        return Unanswered(reason, seconds)

    async def _attempt(
        self, call: Call, read: Callable[[bytes], T], bearer: str | None
    ) -> T | Exception:
        try:
            token = bearer or await self._credentials.token()
            answer = await self._send(call, token)
            if answer.status == HTTPStatus.UNAUTHORIZED:
                if bearer:
                    reason = f"{self._dialect.TITLE} refuses the account's token"
                    return AccountStuck(reason, RENEWAL_SECONDS)
                token = await self._credentials.token(spent=token)
                answer = await self._send(call, token)
        except Patience as patience:
            return patience
        return judge(self._dialect, answer, datetime.now(UTC)) or understood(read, answer)

    async def _send(self, call: Call, token: str) -> Answer:
        headers = {**call.headers, "Authorization": f"Bearer {token}"}
        return await fetch(self._session, self._account.url, replace(call, headers=headers))

    async def _fetch_token(self) -> AccessToken:
        secret = self._account.client_secret.get_secret_value()
        call = self._dialect.token(self._account.client_id, secret, OURS)
        answer = await fetch(self._session, self._account.url, call)
        if answer.status in REFUSED_CREDENTIALS:
            raise Patience("refuses our credentials", CREDENTIALS_SECONDS)
        verdict = judge(self._dialect, answer, datetime.now(UTC))
        if isinstance(verdict, Patience):
            raise verdict
        if verdict is not None:
            raise NoAnswer(f"no token, but HTTP {answer.status}")
        return understood(AccessToken.model_validate_json, answer)

    def _snooze(self, reason: str, seconds: float) -> Snooze:
        return Snooze(f"{self._dialect.TITLE} {reason}", max(seconds, MIN_SNOOZE_SECONDS))
