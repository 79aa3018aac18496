"""Settings of the sandbox platforms and of the first users (``adrelay seed``)."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from infra.settings.rules import DAY, BrokerUrls, HttpUrl


class DevelopmentSettings(BaseSettings):
    """What the sandbox plays, and what the seed creates."""

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
