"""Who calls: an access token's account, or an API key and the account that it acts for.

An access token is verified with public keys alone. An API key is looked up in Postgres and
remembered for a second, so that a revocation takes effect within a second; while Postgres
is gone, and no revocation can be written either, a key that was good when it was last seen
stays good for an hour. Keys and tokens are never kept, only a key's hash.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from infra.errors import Outage
from infra.store.api_keys import ApiKey, NewKey, find_api_key, read_key
from infra.tokens import InvalidToken, Verifier
from schemas.accounts import Role
from workers.ingress.database import Database
from workers.ingress.refusals import invalid_token, unavailable

FRESH = 1.0  # seconds
STALE = 3600.0  # seconds, while Postgres is gone
REMEMBERED = 10_000  # keys
MAX_LENGTH = 4096  # characters of a token or key


@dataclass(frozen=True, slots=True)
class Caller:
    """An account, and the key that acts for it if any; ``name`` is for logs.

    A key never has more rights than a manager: it acts for its owner, on the owner's
    campaigns, as far as its scopes reach.
    """

    account: UUID
    role: Role
    name: str
    session_id: str | None = None
    key: ApiKey | None = None

    @property
    def is_admin(self) -> bool:
        """Whether all campaigns are in reach."""
        return self.role == "admin"

    def may_see(self, owner: UUID | None) -> bool:
        """Whether something that belongs to ``owner`` is in reach."""
        return self.is_admin or owner == self.account


@dataclass(frozen=True, slots=True)
class _Seen:
    key: ApiKey | None
    at: float


class Callers:
    """Finds out who calls."""

    def __init__(self, verifier: Verifier, database: Database) -> None:
        """Begin without any memory."""
        self._verifier = verifier
        self._database = database
        self._seen: dict[bytes, _Seen] = {}
        self._asking: dict[bytes, asyncio.Task[_Seen]] = {}

    async def find(self, headers: Mapping[str, str]) -> Caller | None:
        """Tell who sends these headers; None when they do not say.

        Raises a ``Refusal``: 401 for a token or key that is not valid, 503 when that
        cannot be found out.
        """
        credential = _credential(headers)
        if credential is None:
            return None
        if len(credential) > MAX_LENGTH:
            raise invalid_token()
        if credential.count(".") == 2:  # noqa: PLR2004 - a JWT has three parts
            return self._person(credential)
        try:
            return _client(await self._key(read_key(credential)))
        except ValueError:
            raise invalid_token() from None

    def _person(self, token: str) -> Caller:
        try:
            found = self._verifier.verify(token)
        except InvalidToken:
            raise invalid_token() from None
        return Caller(found.user_id, found.role, f"user:{found.user_id}", found.session_id)

    async def _key(self, shown: NewKey) -> ApiKey | None:
        seen = self._seen.get(shown.hash)
        if seen is not None and time.monotonic() - seen.at < FRESH:
            return seen.key
        asking = self._asking.get(shown.hash)
        if asking is None:
            asking = self._asking[shown.hash] = asyncio.create_task(self._ask(shown))
        try:
            return (await asyncio.shield(asking)).key
        except Outage:
            if seen is not None and time.monotonic() - seen.at < STALE:
                return seen.key
            raise unavailable("API keys cannot be checked right now.") from None

    async def _ask(self, shown: NewKey) -> _Seen:
        async def find(tx: AsyncConnection) -> ApiKey | None:
            return await find_api_key(tx, shown.key)

        try:
            seen = _Seen(await self._database.read(find), time.monotonic())
        finally:
            del self._asking[shown.hash]
        if len(self._seen) >= REMEMBERED:
            self._seen.clear()
        self._seen[shown.hash] = seen
        return seen


def _client(key: ApiKey | None) -> Caller:
    if key is None:
        raise invalid_token()
    return Caller(key.owner_id, "manager", f"key:{key.id}", key=key)


def _credential(headers: Mapping[str, str]) -> str | None:
    """Find the token or key (RFC 6750, section 2.1; ``X-API-Key`` for clients that prefer it)."""
    authorization = headers.get("Authorization")
    if authorization is None:
        return headers.get("X-API-Key")
    scheme, _, credential = authorization.partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise invalid_token()
    return credential.strip()
