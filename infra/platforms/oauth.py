"""The consent of account owners: where to ask for it, and what it is worth (RFC 6749).

    authorize_url                      the owner's browser goes there, and comes back with a code
    exchange    code -> tokens         once; the code is bound to us by its PKCE verifier (RFC 7636)
    refresh     refresh token -> tokens
    revoke      a token                and with it all that came of the consent (RFC 7009)

Redirects are not followed and answers are bounded, as everywhere (``infra.http.client``).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
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
from schemas.oauth import TokenError, TokenResponse
from schemas.types import Platform

CALLBACK = "/api/v1/platforms/{platform}/callback"
MAX_CONCURRENT_EXCHANGES = 4  # exchanges at a time, so that a slow platform holds up no login
# Refusals that speak of the owner's consent; all others speak of us (RFC 6749, section 5.2).
INVALID_GRANT = "invalid_grant"


class OAuthError(Exception):
    """The platform refuses; ``code`` is RFC 6749's, ``message`` the platform's words."""

    def __init__(self, code: str, message: str) -> None:
        """Keep code and words, printable and short."""
        self.code = replace_control_characters(code)[:100]
        self.message = replace_control_characters(message)[:300]
        super().__init__(f"{self.code}: {self.message}")

    @property
    def is_invalid_grant(self) -> bool:
        """Whether code or token are spent, expired or revoked: the owner has to consent anew."""
        return self.code == INVALID_GRANT


class OAuthClient:
    """The token endpoint of one platform, for the accounts of others. Belongs to one loop."""

    def __init__(
        self, dialect: Dialect, account: ClientRegistration, session: ClientSession
    ) -> None:
        """Make a client; nothing is sent yet."""
        self._dialect = dialect
        self._account = account
        self._session = session
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_EXCHANGES)

    async def exchange(self, code: str, verifier: str, redirect_uri: str) -> TokenResponse:
        """Turn a code into tokens. Raises ``OAuthError`` and ``HttpFailure``."""
        asked = {"code": code, "code_verifier": verifier, "redirect_uri": redirect_uri}
        if self._slots.locked():
            raise HttpFailure("too many are being connected at this moment")
        async with self._slots:
            return await self._ask({"grant_type": "authorization_code", **asked})

    async def refresh(self, refresh_token: str) -> TokenResponse:
        """Turn a refresh token into new tokens. Raises ``OAuthError`` and ``HttpFailure``."""
        return await self._ask({"grant_type": "refresh_token", "refresh_token": refresh_token})

    async def revoke(self, token: str) -> None:
        """Revoke a token; one that the platform does not know is revoked.

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
        answer = await fetch(self._session, self._account.url, call)
        if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return answer
        # A refusal that asks to come again is none.
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
    """Say where an owner's browser has to go (RFC 6749, section 4.1.1; PKCE with S256)."""
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
    """Say where the platform sends the browser back to; registered there, letter by letter."""
    return settings.public_url.rstrip("/") + CALLBACK.format(platform=platform)


def derive_code_challenge(verifier: str) -> str:
    """Hash a PKCE verifier (RFC 7636, section 4.2)."""
    return encode_base64url(sha256(verifier.encode()).digest())


@asynccontextmanager
async def open_oauth_clients(
    settings: Settings, platforms: Mapping[Platform, Dialect]
) -> AsyncIterator[Mapping[Platform, OAuthClient]]:
    """Make a client for every platform; nothing is connected before the first call."""
    async with open_session(settings.platform_timeout) as session:
        yield {
            name: OAuthClient(dialect, _register(settings, name), session)
            for name, dialect in platforms.items()
        }


def _register(settings: Settings, platform: Platform) -> ClientRegistration:
    own = settings.platform(platform)
    return ClientRegistration(own.url, own.client_id, own.client_secret)
