"""Settings of access tokens, keys and password hashes."""

from typing import Annotated

from pydantic import AwareDatetime, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

from infra.settings.rules import (
    DAY,
    EncodedKey,
    PublicKeys,
    Seconds,
    SecretKey,
    SecretKeys,
    split_words,
)


class KeySettings(BaseSettings):
    """The keys of each process, the life of tokens, and the cost of a password hash."""

    issuer: str = Field(default="https://adrelay.local", description="iss of access tokens")
    audience: str = Field(default="adrelay", description="aud of access tokens")
    access_token_seconds: int = Field(
        default=900, ge=1, le=DAY, description="Life of an access token"
    )
    refresh_token_seconds: int = Field(
        default=7 * DAY, ge=1, le=365 * DAY, description="Life of a refresh token"
    )
    token_signing_key: SecretKeys | None = Field(
        default=None,
        description="Ed25519 seeds, base64url, separated by spaces; the auth worker signs access"
        " tokens with the first one",
    )
    token_verify_keys: Annotated[PublicKeys, NoDecode] = Field(
        default=(),
        description="Ed25519 public keys, base64url, separated by spaces; verify access tokens",
    )
    token_keys_since: AwareDatetime | None = Field(
        default=None,
        description="When infra.security.access_tokens rotate last changed these keys, ISO 8601",
    )
    seal_private_key: SecretKeys | None = Field(
        default=None,
        description="X25519 keys, base64url, separated by spaces; the auth worker opens"
        " credentials with them, the newest first",
    )
    seal_public_key: EncodedKey | None = Field(
        default=None, description="X25519 key, base64url; the ingress seals credentials to it"
    )
    refresh_key: SecretKey | None = Field(
        default=None,
        description="32 random bytes, base64url; the auth worker derives refresh tokens with it",
    )
    refresh_grace_seconds: Seconds = Field(
        default=10, description="A spent refresh token yields its successor again for so long"
    )
    operation_key: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Signs operation ids, so that they are answered before their row exists",
    )
    console_idle_seconds: int = Field(
        default=1800,
        ge=1,
        le=DAY,
        description="A session of the console ends when not used for so long",
    )
    console_session_seconds: int = Field(
        default=12 * 3600,
        ge=1,
        le=7 * DAY,
        description="A session of the console ends so long after its login, used or not",
    )
    argon2_memory_kib: int = Field(
        default=64 * 1024, ge=8, le=4 * 1024 * 1024, description="argon2id memory, KiB"
    )
    argon2_time: int = Field(default=3, ge=1, le=100, description="argon2id passes")
    argon2_parallelism: int = Field(default=4, ge=1, le=128, description="argon2id lanes")
    vault_keys: SecretKeys | None = Field(
        default=None,
        description="32 random bytes each, base64url, separated by spaces; encrypt the tokens of"
        " connected accounts: the first one encrypts, all decrypt",
    )

    @field_validator("token_verify_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        return split_words(value)
