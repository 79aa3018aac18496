"""Every environment variable with its default and meaning; ``adrelay settings`` lists them.

A field's name in upper case is the variable. Nothing else in Adrelay reads the environment.
Tools that run from a checkout also find them in ``.services/env``, which the
environment overrides.
"""

import os
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AwareDatetime,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode, SettingsConfigDict

from infra.env_file import read_env_file
from infra.rate_limit_settings import RateSettings
from infra.settings_rules import (
    DAY,
    BrokerUrls,
    Bytes,
    DatabaseUrl,
    HttpUrl,
    HttpUrlOrNone,
    Key,
    PublicKeys,
    RedisUrl,
    Seconds,
    SecretHttpUrl,
    SecretKey,
    SecretKeys,
    check_webhook_secrets,
    misspelt,
)

SERVICES_ENV = Path(__file__).resolve().parent.parent / ".services" / "env"


class Settings(RateSettings):
    """What a process is told from outside. Durations are seconds, sizes are bytes."""

    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True, extra="ignore")

    rabbitmq_url: BrokerUrls = Field(
        default=SecretStr("amqp://guest:guest@127.0.0.1:5672/"),
        description="AMQP URL of the broker; several, separated by spaces, are tried in turn",
    )
    ingress_user: str | None = Field(
        default=None,
        description="The ingress' user of the broker, if it is another than RABBITMQ_URL's",
    )
    rabbitmq_management_url: SecretHttpUrl | None = Field(
        default=None,
        description="Management API of the broker; the release step sets a policy through it, the"
        " relay compares the topology",
    )
    database_url: DatabaseUrl = Field(
        default=SecretStr("postgresql://adrelay@127.0.0.1:5432/adrelay"),
        description="Postgres URL",
    )
    redis_url: RedisUrl = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"), description="Redis URL"
    )

    host: str = Field(default="127.0.0.1", description="Address that a process listens on")
    port: int | None = Field(
        default=None,
        ge=0,
        le=65_535,
        description="Port of a process: API and probes of the ingress (8080), probes of a worker",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="DEBUG, INFO, WARNING or ERROR"
    )
    shutdown_deadline: Seconds = Field(
        default=25, description="Time to finish what is in hand after SIGTERM"
    )

    heartbeat: int = Field(default=10, ge=5, le=60, description="AMQP heartbeat")
    broker_timeout: Seconds = Field(default=10, description="Longest wait for a broker's answer")
    confirm_deadline: Seconds = Field(
        default=1, description="The ingress waits so long for a confirm, then uses the outbox"
    )
    reply_deadline: Seconds = Field(
        default=5, description="The ingress waits so long for the auth worker's answer"
    )
    database_pool: int = Field(
        default=10, ge=1, le=1000, description="Database connections a process"
    )
    statement_timeout: Seconds = Field(default=10, description="Longest run of a statement")
    redis_timeout: Seconds = Field(default=0.25, description="Longest wait for Redis")

    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        default=(),
        description="Networks, separated by spaces, of the proxies whose FORWARDED_HEADER counts",
    )
    forwarded_header: Literal["X-Forwarded-For", "Forwarded"] = Field(
        default="X-Forwarded-For", description="Header in which these proxies name the client"
    )

    max_event_bytes: Bytes = Field(default=256 * 1024, description="Largest event; more is dead")
    max_body_bytes: Bytes = Field(default=1024 * 1024, description="Largest HTTP body")
    max_batch_events: int = Field(
        default=1000, ge=1, le=100_000, description="Events in one POST /api/v1/events"
    )
    outbox_poll: Seconds = Field(default=0.5, description="The relay's look when no hint comes")
    outbox_lease: Seconds = Field(default=30, description="Life of a relay's claim on rows")
    inbox_days: int = Field(
        default=30, ge=1, le=3650, description="How long a handled event id is known"
    )
    dead_letter_days: int = Field(
        default=30, ge=1, description="A replayed or discarded dead letter is kept for so long"
    )
    operation_days: int = Field(
        default=90, ge=30, description="The outcome of a write is kept for so long"
    )
    audit_days: int = Field(default=400, ge=1, description="The audit log is kept for so long")

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
    seal_public_key: Key | None = Field(
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
    argon2_memory_kib: int = Field(
        default=64 * 1024, ge=8, le=4 * 1024 * 1024, description="argon2id memory, KiB"
    )
    argon2_time: int = Field(default=3, ge=1, le=100, description="argon2id passes")
    argon2_parallelism: int = Field(default=4, ge=1, le=128, description="argon2id lanes")

    claude_webhook_secret: SecretStr = Field(
        default=SecretStr(""), description="Secrets of Claude's webhooks, separated by spaces"
    )
    chatgpt_webhook_secret: SecretStr = Field(
        default=SecretStr(""), description="whsec_ secrets of ChatGPT's webhooks, same"
    )
    gemini_webhook_secret: SecretStr = Field(
        default=SecretStr(""), description="whpk_ or whsk_ keys of Gemini's webhooks, same"
    )
    claude_url: HttpUrl = Field(default="http://127.0.0.1:8090/claude", description="Claude Ads")
    chatgpt_url: HttpUrl = Field(default="http://127.0.0.1:8090/chatgpt", description="ChatGPT Ads")
    gemini_url: HttpUrl = Field(default="http://127.0.0.1:8090/gemini", description="Gemini Ads")
    claude_client_id: str = Field(default="adrelay", description="OAuth client at Claude Ads")
    chatgpt_client_id: str = Field(default="adrelay", description="OAuth client at ChatGPT Ads")
    gemini_client_id: str = Field(default="adrelay", description="OAuth client at Gemini Ads")
    claude_client_secret: SecretStr = Field(default=SecretStr(""), description="Its secret")
    chatgpt_client_secret: SecretStr = Field(default=SecretStr(""), description="Its secret")
    gemini_client_secret: SecretStr = Field(default=SecretStr(""), description="Its secret")
    claude_authorize_url: HttpUrlOrNone = Field(
        default="", description="Where owners consent at Claude Ads; empty: below its URL"
    )
    chatgpt_authorize_url: HttpUrlOrNone = Field(default="", description="The same at ChatGPT Ads")
    gemini_authorize_url: HttpUrlOrNone = Field(default="", description="The same at Gemini Ads")
    claude_issuer: str = Field(
        default="",
        description="Claude Ads' issuer (RFC 9207), which its answers must name; empty: its URL,"
        " if they name any",
    )
    chatgpt_issuer: str = Field(default="", description="The same at ChatGPT Ads")
    gemini_issuer: str = Field(default="", description="The same at Gemini Ads")
    public_url: HttpUrl = Field(
        default="http://127.0.0.1:8080",
        description="The ingress as browsers know it; platforms send an owner back there",
    )
    vault_keys: SecretKeys | None = Field(
        default=None,
        description="32 random bytes each, base64url, separated by spaces; encrypt the tokens of"
        " connected accounts: the first one encrypts, all decrypt",
    )
    account_poll: Seconds = Field(
        default=2, description="The auth worker looks this often for tokens to be renewed"
    )
    platform_timeout: Seconds = Field(default=10, description="Longest wait for a platform")
    breaker_seconds: Seconds = Field(
        default=15, description="A platform that keeps failing is left alone for so long"
    )

    adrelay_url: HttpUrl = Field(
        default="http://127.0.0.1:8080", description="Where the sandbox platforms send webhooks"
    )
    sandbox_state: str = Field(
        default="", description="File where the sandbox keeps its campaigns; empty: in memory"
    )
    sandbox_metrics_seconds: float = Field(
        default=5, ge=0, le=DAY, description="The sandbox reports figures this often; 0: never"
    )
    sandbox_status_seconds: float = Field(
        default=45,
        ge=0,
        le=DAY,
        description="It changes a seeded campaign's status this often; 0: never",
    )

    adrelay_admin_email: str | None = Field(
        default=None, description="adrelay seed gives this account the role admin"
    )
    adrelay_admin_password: SecretStr | None = Field(
        default=None, description="adrelay seed sets the admin's password to it"
    )
    adrelay_api_key: SecretStr | None = Field(
        default=None,
        description="adrelay seed enters this API key, which belongs to the admin",
    )
    adrelay_api_key_source: str = Field(
        default="urn:example:upstream", description="CloudEvents source that the key speaks for"
    )

    upstream_rabbitmq_url: BrokerUrls | None = Field(
        default=None,
        description="the seed lets the user of this URL publish for the same source and owner",
    )

    @field_validator("token_verify_keys", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("chatgpt_webhook_secret", "gemini_webhook_secret")
    @classmethod
    def _fit_their_scheme(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        return check_webhook_secrets(str(info.field_name).partition("_")[0], value)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        for held, small, large in (
            (self.max_event_bytes <= self.max_body_bytes, "max_event_bytes", "max_body_bytes"),
            (
                self.access_token_seconds <= self.refresh_token_seconds,
                "access_token_seconds",
                "refresh_token_seconds",
            ),
        ):
            if not held:
                raise ValueError(f"{small.upper()}: must not be more than {large.upper()}")
        if self.argon2_memory_kib < 8 * self.argon2_parallelism:  # RFC 9106, section 3.1
            raise ValueError("ARGON2_MEMORY_KIB: must be 8 times ARGON2_PARALLELISM or more")
        return self

    def account_of(self, platform: str) -> tuple[str, str, SecretStr]:
        """Tell a platform's URL, our client id there and its secret."""
        fields = (f"{platform}_{name}" for name in ("url", "client_id", "client_secret"))
        url, client_id, client_secret = (getattr(self, field) for field in fields)
        return url, client_id, client_secret

    def secrets_of(self, source: str) -> tuple[str, ...]:
        """List the webhook secrets of a source, the newest first."""
        secret: SecretStr = getattr(self, f"{source}_webhook_secret")
        return tuple(secret.get_secret_value().split())


class WrongSettings(SystemExit):
    """What the environment says cannot be: the process ends with one line about it (status 1)."""


def load_settings(process: str = "") -> Settings:
    """Read the environment, over ``.services/env`` where a checkout has it.

    ``process`` is one that has a file of its own there, which then counts too
    (``release``). Raises ``WrongSettings``, which names each variable that is wrong and its
    rule, and ends the process unless somebody catches it.
    """
    try:
        own = read_env_file(SERVICES_ENV.with_name(f"{process}.env")) if process else {}
        found = {**read_env_file(SERVICES_ENV), **own, **os.environ}
    except ValueError as error:
        raise WrongSettings(str(error)) from None
    fields = Settings.model_fields
    if wrong := misspelt(found, fields):
        raise WrongSettings(wrong)
    known = {name: found[name.upper()] for name in fields if name.upper() in found}
    try:
        return Settings.model_validate(known)
    except ValidationError as error:
        raise WrongSettings(rules_of(error)) from None


def require(check: Callable[[Settings], object], settings: Settings) -> None:
    """Ask ``check`` whether a process has its keys; a ``ValueError`` of it ends the process."""
    try:
        check(settings)
    except ValueError as error:
        raise WrongSettings(str(error)) from None


def rules_of(error: ValidationError) -> str:
    """Say in one line which variables are wrong and what they must be, without their values."""
    lines = error.errors(include_input=False, include_url=False, include_context=False)
    said: dict[str, str] = {}
    for line in lines:
        message = line["msg"].removeprefix("Value error, ")
        name = str(line["loc"][0]).upper() if line["loc"] else ""
        said.setdefault(name or message, f"{name}: {message}" if name else message)
    return "; ".join(said.values())
