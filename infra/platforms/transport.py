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
from infra.http.circuit_breaker import CircuitBreaker
from infra.http.client import HttpFailure, HttpRequest, HttpResponse, fetch
from infra.platforms.base import AccountUnavailable, Dialect, RequestSnooze, RequestUnanswered
from infra.platforms.client_credentials import ClientCredentials
from infra.platforms.failure_tracker import FailureTracker
from infra.platforms.metrics import PlatformMetrics
from infra.platforms.responses import (
    CREDENTIALS_SECONDS,
    NotFound,
    RetryLater,
    classify_response,
    parse_body,
)
from schemas.oauth import AccessToken

T = TypeVar("T")

MAX_CONCURRENT_REQUESTS = 16
# A snooze lasts so long at least.
MIN_SNOOZE_SECONDS = 1.0
# How long a call waits whose account's token was refused and has to be renewed.
TOKEN_REFRESH_SECONDS = 5.0
CLIENT_CREDENTIALS_GRANT: Mapping[str, str] = {"grant_type": "client_credentials"}

INVALID_CLIENT_STATUSES = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


@dataclass(frozen=True, slots=True)
class ClientRegistration:
    """Where a platform is and who we are there."""

    url: str
    client_id: str
    client_secret: SecretStr


class Transport:
    """The line to one platform; belongs to one event loop."""

    def __init__(
        self,
        dialect: Dialect,
        account: ClientRegistration,
        session: ClientSession,
        breaker: CircuitBreaker,
        metrics: PlatformMetrics,
    ) -> None:
        """Make a line; nothing is sent yet."""
        self._dialect = dialect
        self._account = account
        self._session = session
        self._breaker = breaker
        self._metrics = metrics
        self._credentials = ClientCredentials(self._fetch_token)
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)
        self._quiet_until = 0.0
        self._failures = FailureTracker()

    async def send(
        self, call: HttpRequest, read: Callable[[bytes], T], access_token: str | None = None
    ) -> T:
        """Make a call, with this access token or ours, and ``read`` the body of its answer.

        Raises ``AccountUnavailable`` when that token is refused, and ``NotFound``, ``Refused``,
        ``Transient`` or ``Snooze``, as the table above says.
        """
        try:
            async with self._slots:
                value = await self._guarded(call, read, access_token)
        except Exception as error:
            self._metrics.count(error)
            raise
        self._metrics.count(None)
        return value

    async def aclose(self) -> None:
        """Stop what is under way in the background."""
        await self._credentials.aclose()

    async def _guarded(
        self, call: HttpRequest, read: Callable[[bytes], T], access_token: str | None
    ) -> T:
        wait = self._quiet_until - time.monotonic()
        if wait > 0:
            raise self._snooze("asked for patience", wait)
        try:
            with self._metrics.seconds.time():
                result = await self._breaker.call(lambda: self._attempt(call, read, access_token))
        except CircuitBreakerError:
            raise self._snooze("is failing", self._breaker.wait) from None
        except HttpFailure as failure:
            raise self.to_failure(call, failure.reason) from None
        if isinstance(result, RetryLater) and access_token and result.refusal:
            # It may be about that account alone.
            raise RequestSnooze(f"{self._dialect.TITLE} {result.reason}", result.seconds)
        if isinstance(result, RetryLater):
            self._quiet_until = time.monotonic() + result.seconds
            raise self._snooze(result.reason, result.seconds)
        if not isinstance(result, NotFound):
            self._failures.answered(call)
        if isinstance(result, Exception):
            raise result
        return result

    def to_failure(self, call: HttpRequest, reason: str) -> Failure:
        """Say what a call without a usable answer means: an outage until others are answered."""
        if self._breaker.state == STATE_OPEN:
            return self._snooze(f"is failing: {reason}", self._breaker.wait)
        reason, seconds = f"{self._dialect.TITLE}: {reason}", self._failures.failed(call)
        if seconds is None:
            return Transient(reason, code="PLATFORM_FAILED")
        return RequestUnanswered(reason, seconds)

    async def _attempt(
        self, call: HttpRequest, read: Callable[[bytes], T], access_token: str | None
    ) -> T | Exception:
        try:
            token = access_token or await self._credentials.token()
            answer = await self._send(call, token)
            if answer.status == HTTPStatus.UNAUTHORIZED:
                if access_token:
                    reason = f"{self._dialect.TITLE} refuses the account's token"
                    return AccountUnavailable(reason, TOKEN_REFRESH_SECONDS)
                token = await self._credentials.token(spent=token)
                answer = await self._send(call, token)
        except RetryLater as patience:
            return patience
        return classify_response(self._dialect, answer, datetime.now(UTC)) or parse_body(
            read, answer
        )

    async def _send(self, call: HttpRequest, token: str) -> HttpResponse:
        headers = {**call.headers, "Authorization": f"Bearer {token}"}
        return await fetch(self._session, self._account.url, replace(call, headers=headers))

    async def _fetch_token(self) -> AccessToken:
        secret = self._account.client_secret.get_secret_value()
        call = self._dialect.token_request(
            self._account.client_id, secret, CLIENT_CREDENTIALS_GRANT
        )
        answer = await fetch(self._session, self._account.url, call)
        if answer.status in INVALID_CLIENT_STATUSES:
            raise RetryLater("refuses our credentials", CREDENTIALS_SECONDS)
        verdict = classify_response(self._dialect, answer, datetime.now(UTC))
        if isinstance(verdict, RetryLater):
            raise verdict
        if verdict is not None:
            raise HttpFailure(f"no token, but HTTP {answer.status}")
        return parse_body(AccessToken.model_validate_json, answer)

    def _snooze(self, reason: str, seconds: float) -> Snooze:
        return Snooze(f"{self._dialect.TITLE} {reason}", max(seconds, MIN_SNOOZE_SECONDS))
