"""The secret keys of a process, each parsed once, in the objects that use them.

A process holds only the keys that its environment gives it (docs/operator.md). An object is made
at its first use; without its key that raises ``ValueError``, which names the variable. A worker
that cannot work without its keys checks them before it starts (``handlers.auth.keys``).
"""

from functools import cached_property

from redis.asyncio import Redis

from infra.security.access_tokens import TokenSigner
from infra.security.encryption import Encryptor
from infra.security.refresh_token_rotation import RefreshTokenStore
from infra.security.sealed_box import PayloadDecryptor
from infra.settings import Settings


class Keyring:
    """Objects that hold secret keys."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        """Parse nothing yet."""
        self._settings = settings
        self._redis = redis

    @cached_property
    def token_signer(self) -> TokenSigner:
        """Signs access tokens: TOKEN_SIGNING_KEY."""
        return TokenSigner(self._settings)

    @cached_property
    def refresh_tokens(self) -> RefreshTokenStore:
        """Issues and rotates refresh tokens: REFRESH_KEY."""
        return RefreshTokenStore(self._redis, self._settings)

    @cached_property
    def encryptor(self) -> Encryptor:
        """Encrypts and decrypts the tokens of platform accounts: VAULT_KEYS."""
        return Encryptor(self._settings)

    @cached_property
    def payload_decryptor(self) -> PayloadDecryptor:
        """Decrypts the payloads of requests to the auth worker: SEAL_PRIVATE_KEY."""
        return PayloadDecryptor(self._settings)
