"""Sends requests to one platform: access token, concurrency limit, circuit breaker, cooldown.

A rejection is a response: the platform works, so the circuit breaker counts it as a success.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TypeVar

from aiohttp import ClientSession
from pybreaker import STATE_OPEN, CircuitBreakerError
from pydantic import SecretStr

from infra.backoff import Cooldown
from infra.http.circuit_breaker import CircuitBreaker
from infra.http.client import HttpFailure, HttpRequest, HttpResponse, fetch
from infra.platforms.base import Dialect
from infra.platforms.client_credentials import ClientCredentials
from infra.platforms.failure_tracker import FailureTracker
from infra.platforms.metrics import PlatformMetrics
from infra.platforms.responses import CREDENTIALS_SECONDS, classify_response
from infra.platforms.results import Failed, NotFound, Result, RetryLater, Success
from infra.tracing import Tracer
from schemas.oauth import AccessToken

T = TypeVar("T")

MAX_CONCURRENT_REQUESTS = 16
MIN_RETRY_SECONDS = 1.0
TOKEN_REFRESH_SECONDS = 5.0  # until a request is repeated whose account's token was rejected
CLIENT_CREDENTIALS_GRANT: Mapping[str, str] = {"grant_type": "client_credentials"}

INVALID_CLIENT_STATUSES = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


@dataclass(frozen=True, slots=True)
class ClientRegistration:
    """The base URL of a platform and the credentials of our OAuth client there."""

    url: str
    client_id: str
    client_secret: SecretStr


class TokenUnavailable(Exception):
    """The platform issues no access token now; ``result`` says when to try again."""

    def __init__(self, result: RetryLater) -> None:
        """Keep the result for the requests that wait for the token."""
        super().__init__(result.reason)
        self.result = result


class Transport:
    """Sends the requests to one platform; belongs to one event loop."""

    def __init__(
        self,
        dialect: Dialect,
        account: ClientRegistration,
        session: ClientSession,
        breaker: CircuitBreaker,
        metrics: PlatformMetrics,
        tracer: Tracer | None = None,
    ) -> None:
        """Keep what requests need; nothing is sent yet."""
        self._tracer = tracer
        self._dialect = dialect
        self._account = account
        self._session = session
        self._breaker = breaker
        self._metrics = metrics
        self._credentials = ClientCredentials(self._fetch_token)
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)
        self._cooldown = Cooldown(CREDENTIALS_SECONDS)
        self._failures = FailureTracker()

    async def send(
        self, request: HttpRequest, parse: Callable[[bytes], T], access_token: str | None = None
    ) -> Result[T]:
        """Send a request with this access token or our own; ``parse`` reads a success's body."""
        try:
            async with self._slots:
                result = await self._send_guarded(request, parse, access_token)
        except Exception:
            self._metrics.count_error()
            raise
        self._metrics.count(result)
        return result

    def to_failure(self, request: HttpRequest, reason: str) -> RetryLater | Failed:
        """Assess a request without a usable response: an outage until others are answered."""
        if self._breaker.state == STATE_OPEN:
            return self._retry_later(f"is failing: {reason}", self._breaker.wait)
        return Failed(f"{self._dialect.TITLE}: {reason}", self._failures.failed(request))

    async def aclose(self) -> None:
        """Stop fetching an access token."""
        await self._credentials.aclose()

    async def _send_guarded(
        self, request: HttpRequest, parse: Callable[[bytes], T], access_token: str | None
    ) -> Result[T]:
        if (wait := self._cooldown.remaining) > 0:
            return self._retry_later("has asked to wait", wait)
        try:
            with self._metrics.seconds.time():
                result = await self._breaker.call(
                    lambda: self._attempt(request, parse, access_token)
                )
        except CircuitBreakerError:
            return self._retry_later("is failing", self._breaker.wait)
        except HttpFailure as failure:
            return self.to_failure(request, failure.reason)
        match result:
            case RetryLater(scope="platform"):
                self._cooldown.start(result.seconds)
            case NotFound() | RetryLater(scope="account", token_rejected=False):
                pass
            case _:
                self._failures.answered(request)
        return result

    async def _attempt(
        self, request: HttpRequest, parse: Callable[[bytes], T], access_token: str | None
    ) -> Result[T]:
        """Send a request once, or twice if our own token was rejected.

        Raises ``HttpFailure`` for the circuit breaker to count, instead of returning ``Failed``.
        """
        try:
            token = access_token or await self._credentials.token()
            response = await self._send(request, token)
            if response.status == HTTPStatus.UNAUTHORIZED:
                if access_token:
                    return self._reject_token()
                token = await self._credentials.token(spent=token)
                response = await self._send(request, token)
        except TokenUnavailable as unavailable:
            return unavailable.result
        result = classify_response(
            self._dialect, parse, response, datetime.now(UTC), for_owner=access_token is not None
        )
        if isinstance(result, Failed):
            raise HttpFailure(result.reason)
        return result

    async def _send(self, request: HttpRequest, token: str) -> HttpResponse:
        headers = {**request.headers, "Authorization": f"Bearer {token}"}
        signed = replace(request, headers=headers)
        return await fetch(self._session, self._account.url, signed, tracer=self._tracer)

    async def _fetch_token(self) -> AccessToken:
        secret = self._account.client_secret.get_secret_value()
        request = self._dialect.token_request(
            self._account.client_id, secret, CLIENT_CREDENTIALS_GRANT
        )
        response = await fetch(self._session, self._account.url, request)
        if response.status in INVALID_CLIENT_STATUSES:
            reason = f"{self._dialect.TITLE} refuses our credentials"
            raise TokenUnavailable(RetryLater(reason, CREDENTIALS_SECONDS))
        parse = AccessToken.model_validate_json
        match classify_response(self._dialect, parse, response, datetime.now(UTC)):
            case Success(token):
                return token
            case RetryLater(scope="platform") as later:
                raise TokenUnavailable(later)
            case Failed(reason):
                raise HttpFailure(reason)
            case _:
                raise HttpFailure(f"no token, but HTTP {response.status}")

    def _reject_token(self) -> RetryLater:
        reason = f"{self._dialect.TITLE} refuses the account's token"
        return RetryLater(reason, TOKEN_REFRESH_SECONDS, "account", token_rejected=True)

    def _retry_later(self, reason: str, seconds: float) -> RetryLater:
        return RetryLater(f"{self._dialect.TITLE} {reason}", max(seconds, MIN_RETRY_SECONDS))
