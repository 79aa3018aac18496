"""Settings of the ad platforms: the same six variables for each, and what they share."""

from dataclasses import dataclass, field

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from infra.settings.rules import HttpUrl, HttpUrlOrNone, Seconds, check_webhook_secrets


@dataclass(frozen=True, slots=True)
class PlatformSettings:
    """The settings of one platform. ``webhook_secrets`` has the newest first."""

    url: str
    client_id: str
    client_secret: SecretStr
    authorize_url: str
    issuer: str
    webhook_secrets: tuple[str, ...] = field(repr=False)


class PlatformVariables(BaseSettings):
    """The variables of all platforms."""

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
    claude_webhook_secret: SecretStr = Field(
        default=SecretStr(""), description="Secrets of Claude's webhooks, separated by spaces"
    )
    chatgpt_webhook_secret: SecretStr = Field(
        default=SecretStr(""), description="whsec_ secrets of ChatGPT's webhooks, same"
    )
    gemini_webhook_secret: SecretStr = Field(
        default=SecretStr(""), description="whpk_ or whsk_ keys of Gemini's webhooks, same"
    )
    account_poll: Seconds = Field(
        default=2, description="The auth worker looks this often for tokens to be renewed"
    )
    platform_timeout: Seconds = Field(default=10, description="Longest wait for a platform")
    breaker_seconds: Seconds = Field(
        default=15, description="A platform that keeps failing is left alone for so long"
    )

    @field_validator("chatgpt_webhook_secret", "gemini_webhook_secret")
    @classmethod
    def _check_webhook_secrets(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        return check_webhook_secrets(str(info.field_name).partition("_")[0], value)

    def platform(self, name: str) -> PlatformSettings:
        """Collect the settings of a platform by its name."""
        values = {
            field: getattr(self, f"{name}_{field}")
            for field in ("url", "client_id", "client_secret", "authorize_url", "issuer")
        }
        return PlatformSettings(**values, webhook_secrets=self.webhook_secrets(name))

    def webhook_secrets(self, source: str) -> tuple[str, ...]:
        """Read the secrets of a webhook source by its name, the newest first."""
        secrets: SecretStr = getattr(self, f"{source}_webhook_secret")
        return tuple(secrets.get_secret_value().split())
