"""Authenticates requests: an access token for a user, or an API key for its owner.

An access token is verified with public keys alone. An API key is looked up in Postgres, and the
result is cached for one second from before the query, so that a revocation takes effect within a
second. While Postgres is down, when no revocation can be written either, a key that was valid at
the last query stays valid for an hour. Keys and tokens are never stored, only the key's hash.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from infra.background import BackgroundTasks
from infra.errors import Outage
from infra.metrics import KEY_USES
from infra.security.access_tokens import InvalidToken, TokenVerifier
from infra.storage.api_keys import ApiKey, ParsedApiKey, find_api_key, parse_api_key
from infra.web.database import Database
from infra.web.errors import (
    FieldError,
    forbidden,
    invalid,
    invalid_token,
    unauthenticated,
    unavailable,
)
from infra.web.principal import Principal
from schemas.api_keys import KEY_SCOPES
from workers.ingress.backends.api_key_usage import ApiKeyUsage

CACHE_LIFETIME = 1.0  # seconds
OUTAGE_CACHE_LIFETIME = 3600.0  # seconds, while Postgres is down
MAX_CACHED_KEYS = 10_000  # keys
MAX_CREDENTIAL_LENGTH = 4096  # characters of a token or key


def require_scope(principal: Principal | None, scope: str) -> None:
    """Raise 401 without a principal, and 403 when it does not hold the scope."""
    if principal is None:
        raise unauthenticated()
    if scope in principal.scopes:
        return
    if principal.api_key is None:
        raise forbidden("Your account may not do this.")
    KEY_USES["out_of_scope"].inc()
    if scope not in KEY_SCOPES:
        raise forbidden("An API key may not do this.")
    raise forbidden(f"This needs an API key with the scope {scope}.")


@dataclass(frozen=True, slots=True)
class _CachedKey:
    """The result of a key's lookup and its time; no principal when the key is not valid."""

    principal: Principal | None
    at: float

    def is_within(self, seconds: float) -> bool:
        return time.monotonic() - self.at < seconds


class Authenticator:
    """Finds the principal of a request."""

    def __init__(
        self, verifier: TokenVerifier, database: Database, background: BackgroundTasks
    ) -> None:
        """Start with an empty cache of API keys."""
        self._verifier = verifier
        self._database = database
        self._cached: dict[bytes, _CachedKey] = {}
        self._lookups: dict[bytes, asyncio.Task[_CachedKey]] = {}
        self.api_key_usage = ApiKeyUsage(database, background)

    async def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """Return the principal of a request, None when it carries no credential.

        Raises 401 for a token or key that is not valid, and 503 when a key cannot be checked.
        """
        credential = _read_credential(headers)
        if credential is None:
            return None
        if len(credential) > MAX_CREDENTIAL_LENGTH:
            raise invalid_token()
        if credential.count(".") == 2:  # noqa: PLR2004 - a JWT has three parts
            return self._verify_token(credential)
        try:
            shown = parse_api_key(credential)
        except ValueError:
            KEY_USES["invalid"].inc()
            raise invalid_token() from None
        return await self._verify_key(shown)

    def _verify_token(self, token: str) -> Principal:
        try:
            found = self._verifier.verify(token)
        except InvalidToken:
            raise invalid_token() from None
        name = f"user:{found.user_id}"
        return Principal(found.user_id, found.role, name, found.scopes, found.session_id)

    async def _verify_key(self, shown: ParsedApiKey) -> Principal:
        seen, outcome = await self._look_up(shown)
        principal = seen.principal
        if principal is None or principal.api_key is None or principal.api_key.has_expired:
            KEY_USES["invalid"].inc()
            raise invalid_token()
        KEY_USES[outcome].inc()
        self.api_key_usage.record(principal.api_key.id)
        return principal

    async def _look_up(self, shown: ParsedApiKey) -> tuple[_CachedKey, str]:
        """Find a key in the cache or the database; the outcome is ``valid`` or ``stale``."""
        seen = self._cached.get(shown.hash)
        if seen is not None and seen.is_within(CACHE_LIFETIME):
            return seen, "valid"
        asking = self._lookups.get(shown.hash)
        if asking is None:
            asking = self._lookups[shown.hash] = asyncio.create_task(self._query(shown))
        try:
            return await asyncio.shield(asking), "valid"
        except Outage:
            if seen is not None and seen.is_within(OUTAGE_CACHE_LIFETIME):
                return seen, "stale"
            KEY_USES["unavailable"].inc()
            raise unavailable("API keys cannot be checked right now.") from None

    async def _query(self, shown: ParsedApiKey) -> _CachedKey:
        began = time.monotonic()
        try:
            key = await self._database.read(find_api_key, shown.key)
        finally:
            del self._lookups[shown.hash]
        seen = _CachedKey(None if key is None else _to_principal(key), began)
        if len(self._cached) >= MAX_CACHED_KEYS:
            self._cached.clear()
        self._cached[shown.hash] = seen
        return seen


def _to_principal(key: ApiKey) -> Principal:
    held = {":".join(scope.split(":")[:2]) for scope in key.scopes}
    scopes = frozenset(held) & frozenset(KEY_SCOPES)
    return Principal(key.owner_id, "manager", f"key:{key.id}", scopes, api_key=key)


def _read_credential(headers: Mapping[str, str]) -> str | None:
    """Read the token or key (RFC 6750, section 2.1; ``X-API-Key`` for clients that prefer it)."""
    authorization, api_key = headers.get("Authorization"), headers.get("X-API-Key")
    if authorization is None:
        return api_key
    if api_key is not None:  # RFC 6750, section 2: one method per request
        message = "must not be sent beside X-API-Key"
        raise invalid([FieldError("Authorization", message)])
    scheme, _, credential = authorization.partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise invalid_token()
    return credential.strip()
