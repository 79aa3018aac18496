"""Gets and revokes tokens of account owners (OAuth 2.0 authorization code grant, RFC 6749).

    build_authorize_url                where the owner's browser is sent; it returns with a code
    exchange    code -> tokens         once; PKCE binds the code to our client (RFC 7636)
    refresh     refresh token -> tokens
    revoke      a token                and all tokens of the same consent (RFC 7009)

Redirects are not followed and responses have a maximum size (``infra.http.client``).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from http import HTTPStatus
from urllib.parse import urlencode

from aiohttp import ClientSession
from pydantic import ValidationError

from infra.base64url import encode_base64url
from infra.http.client import (
    HttpFailure,
    HttpRequest,
    HttpResponse,
    fetch,
    open_session,
    parse_retry_after,
)
from infra.platforms.base import Dialect
from infra.platforms.results import replace_control_characters
from infra.platforms.transport import ClientRegistration
from infra.settings import Settings
from infra.tracing import Tracer
from schemas.oauth import TokenError, TokenResponse
from schemas.trace_context import TraceContext
from schemas.types import Platform

CALLBACK = "/api/v1/platforms/{platform}/callback"
MAX_CONCURRENT_EXCHANGES = 4  # so that a slow platform delays no login
# The error about the owner's consent; all others are about our client (RFC 6749, section 5.2).
INVALID_GRANT = "invalid_grant"


class OAuthError(Exception):
    """The token endpoint returned an error; ``code`` is that of RFC 6749, section 5.2."""

    def __init__(self, code: str, message: str) -> None:
        """Keep code and message, printable and at most 100 and 300 characters long."""
        self.code = replace_control_characters(code)[:100]
        self.message = replace_control_characters(message)[:300]
        super().__init__(f"{self.code}: {self.message}")

    @property
    def is_invalid_grant(self) -> bool:
        """Whether the code or token is used, expired or revoked: the owner has to consent again."""
        return self.code == INVALID_GRANT


class OAuthClient:
    """The OAuth client of one platform, for accounts of owners. Belongs to one event loop."""

    def __init__(
        self,
        dialect: Dialect,
        account: ClientRegistration,
        session: ClientSession,
        tracer: Tracer | None = None,
        trace: TraceContext | None = None,
    ) -> None:
        """Keep what requests need, and the trace they belong to; nothing is sent yet."""
        self._tracer = tracer
        self._trace = trace
        self._dialect = dialect
        self._account = account
        self._session = session
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_EXCHANGES)

    def in_trace(self, trace: TraceContext | None) -> "OAuthClient":
        """Give the same client for requests that belong to a trace."""
        client = OAuthClient(self._dialect, self._account, self._session, self._tracer, trace)
        client._slots = self._slots
        return client

    async def exchange(self, code: str, verifier: str, redirect_uri: str) -> TokenResponse:
        """Exchange an authorization code for tokens. Raises ``OAuthError`` and ``HttpFailure``."""
        asked = {"code": code, "code_verifier": verifier, "redirect_uri": redirect_uri}
        if self._slots.locked():
            raise HttpFailure("too many accounts are being connected at this moment")
        async with self._slots:
            return await self._ask({"grant_type": "authorization_code", **asked})

    async def refresh(self, refresh_token: str) -> TokenResponse:
        """Exchange a refresh token for new tokens. Raises ``OAuthError`` and ``HttpFailure``."""
        return await self._ask({"grant_type": "refresh_token", "refresh_token": refresh_token})

    async def revoke(self, token: str) -> None:
        """Revoke a token; a token that the platform does not know counts as revoked.

        Raises ``OAuthError`` and ``HttpFailure``.
        """
        secret = self._account.client_secret.get_secret_value()
        await self._send(self._dialect.revoke_request(self._account.client_id, secret, token))

    async def _ask(self, grant: Mapping[str, str]) -> TokenResponse:
        secret = self._account.client_secret.get_secret_value()
        answer = await self._send(
            self._dialect.token_request(self._account.client_id, secret, grant)
        )
        try:
            return TokenResponse.model_validate_json(answer.body)
        except ValidationError:
            raise HttpFailure("the answer is malformed") from None

    async def _send(self, call: HttpRequest) -> HttpResponse:
        traced = replace(call, trace=self._trace)
        answer = await fetch(self._session, self._account.url, traced, tracer=self._tracer)
        if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return answer
        # An error with Retry-After is no final error.
        asked = parse_retry_after(answer.headers, datetime.now(UTC)) is not None
        if answer.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED) and not asked:
            try:
                error = TokenError.model_validate_json(answer.body)
            except ValidationError:
                raise HttpFailure(f"HTTP {answer.status}") from None
            raise OAuthError(error.error, error.error_description or "")
        raise HttpFailure(f"HTTP {answer.status}")


def build_authorize_url(
    settings: Settings, platform: str, dialect: Dialect, *, state: str, verifier: str
) -> str:
    """Build the URL of the authorization request (RFC 6749, section 4.1.1; PKCE with S256)."""
    own = settings.platform(platform)
    query = {
        "response_type": "code",
        "client_id": own.client_id,
        "redirect_uri": build_redirect_uri(settings, platform),
        "scope": " ".join(dialect.SCOPES),
        "state": state,
        "code_challenge": derive_code_challenge(verifier),
        "code_challenge_method": "S256",
        **dialect.CONSENT_PARAMETERS,
    }
    place = own.authorize_url or own.url.rstrip("/") + dialect.AUTHORIZE_PATH
    return f"{place}{'&' if '?' in place else '?'}{urlencode(query)}"


def build_redirect_uri(settings: Settings, platform: str) -> str:
    """Build the redirect URI; it must be registered at the platform with exactly this text."""
    return settings.public_url.rstrip("/") + CALLBACK.format(platform=platform)


def derive_code_challenge(verifier: str) -> str:
    """Derive the PKCE code challenge of a verifier (RFC 7636, section 4.2)."""
    return encode_base64url(sha256(verifier.encode()).digest())


@asynccontextmanager
async def open_oauth_clients(
    settings: Settings, platforms: Mapping[Platform, Dialect], tracer: Tracer | None = None
) -> AsyncIterator[Mapping[Platform, OAuthClient]]:
    """Make a client for every platform; nothing is connected before the first call."""
    async with open_session(settings.platform_timeout) as session:
        yield {
            name: OAuthClient(dialect, _register(settings, name), session, tracer)
            for name, dialect in platforms.items()
        }


def _register(settings: Settings, platform: Platform) -> ClientRegistration:
    own = settings.platform(platform)
    return ClientRegistration(own.url, own.client_id, own.client_secret)
