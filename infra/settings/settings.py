"""The settings of all processes, as one frozen object."""

import os
from collections.abc import Mapping
from typing import Self

from pydantic import SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from infra.settings.development import DevelopmentSettings
from infra.settings.keys import KeySettings
from infra.settings.platforms import PlatformVariables
from infra.settings.processes import ProcessSettings
from infra.settings.rate_limits import RateLimitSettings
from infra.settings.servers import ServerSettings
from infra.settings.source import VariableSource
from infra.settings.tls import Server, TlsSettings, check_tls
from infra.settings.traces import TraceSettings

# In the order in which they are listed.
GROUPS: tuple[type[BaseSettings], ...] = (
    ServerSettings,
    TlsSettings,
    ProcessSettings,
    TraceSettings,
    KeySettings,
    PlatformVariables,
    DevelopmentSettings,
    RateLimitSettings,
)


class Settings(
    ServerSettings,
    TlsSettings,
    ProcessSettings,
    TraceSettings,
    KeySettings,
    PlatformVariables,
    DevelopmentSettings,
    RateLimitSettings,
):
    """What a process is configured with. Durations are seconds, sizes are bytes."""

    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True, extra="ignore")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - replaced by our own
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not used
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not used
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read what is not passed from the variables of the process."""
        return init_settings, VariableSource(settings_cls, os.environ)

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
        urls: Mapping[Server, SecretStr] = {
            "rabbitmq": self.rabbitmq_url,
            "database": self.database_url,
            "redis": self.redis_url,
        }
        for server, url in urls.items():
            check_tls(server, self.tls(server), url)
        return self


def describe_invalid(error: ValidationError) -> str:
    """Describe in one line which variables are invalid and their rules, without their values."""
    lines = error.errors(include_input=False, include_url=False, include_context=False)
    described: dict[str, str] = {}
    for line in lines:
        message = line["msg"].removeprefix("Value error, ")
        name = str(line["loc"][0]).upper() if line["loc"] else ""
        described.setdefault(name or message, f"{name}: {message}" if name else message)
    return "; ".join(described.values())
