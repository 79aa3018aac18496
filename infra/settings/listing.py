"""Lists settings for people: value, source, unit and meaning; never a secret."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args
from urllib.parse import urlsplit

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from infra.settings.development import DevelopmentSettings
from infra.settings.keys import KeySettings
from infra.settings.platforms import PlatformVariables
from infra.settings.processes import ProcessSettings
from infra.settings.rate_limits import RateLimitSettings
from infra.settings.rules import SettingUnit
from infra.settings.servers import ServerSettings
from infra.settings.settings import Settings
from infra.settings.tls import TlsSettings
from infra.settings.traces import TraceSettings

DEFAULT, ENVIRONMENT, FILE = "default", "environment", "file"
TITLES: Mapping[type[BaseSettings], str] = {
    ServerSettings: "Servers",
    TlsSettings: "TLS",
    ProcessSettings: "Processes",
    TraceSettings: "Traces",
    KeySettings: "Keys and tokens",
    PlatformVariables: "Platforms",
    DevelopmentSettings: "Sandbox and seed",
    RateLimitSettings: "Rate limits",
}
# Units that the end of a name says.
SUFFIX_UNITS: Mapping[str, str] = {
    "_seconds": "seconds",
    "_days": "days",
    "_bytes": "bytes",
    "_kib": "KiB",
}
HIDDEN_URL = "a URL with a password or parameters, set"


@dataclass(frozen=True, slots=True)
class ListedSetting:
    """A setting as people read it: ``value`` is None for a secret, empty for an absent one.

    ``source`` is where the value comes from: default, environment or file (of a checkout).
    """

    name: str
    value: str | None
    is_set: bool
    default: str
    unit: str
    source: str
    meaning: str

    @property
    def is_secret(self) -> bool:
        """Whether the value is never shown."""
        return self.value is None


@dataclass(frozen=True, slots=True)
class SettingGroup:
    """Settings that belong together, with what they are about."""

    title: str
    meaning: str
    settings: tuple[ListedSetting, ...]


def list_settings(settings: Settings, variables: Mapping[str, str]) -> list[SettingGroup]:
    """List all settings of a process, whose environment is ``variables``, group by group."""
    return [_list_group(group, settings, variables) for group in TITLES]


def is_secret(annotation: object) -> bool:
    """Tell whether a field of this type holds a secret, or may."""
    return annotation is SecretStr or any(map(is_secret, get_args(annotation)))


def describe_value(value: object) -> str:
    """Write a value that is no secret; of a URL with a password or parameters only that it is."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return HIDDEN_URL if "://" in text and _may_hold_secret(text) else text


def describe_default(field: FieldInfo) -> str:
    """Write the default of a setting; empty for a secret, and where there is none."""
    return "" if is_secret(field.annotation) else describe_value(field.default)


def _may_hold_secret(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    return "@" in parts.netloc or bool(parts.query or parts.fragment)


def _list_group(
    group: type[BaseSettings], settings: Settings, variables: Mapping[str, str]
) -> SettingGroup:
    listed = tuple(
        _list_setting(name, field, settings, variables)
        for name, field in group.model_fields.items()
    )
    return SettingGroup(TITLES[group], (group.__doc__ or "").partition("\n")[0], listed)


def _list_setting(
    name: str, field: FieldInfo, settings: Settings, variables: Mapping[str, str]
) -> ListedSetting:
    value: Any = getattr(settings, name)
    source = DEFAULT
    if name in settings.model_fields_set:
        source = ENVIRONMENT if name.upper() in variables else FILE
    return ListedSetting(
        name=name.upper(),
        value=None if is_secret(field.annotation) else describe_value(value),
        is_set=_is_set(value),
        default=describe_default(field),
        unit=_find_unit(name, field),
        source=source,
        meaning=field.description or "",
    )


def _is_set(value: object) -> bool:
    if isinstance(value, SecretStr):
        return bool(value.get_secret_value())
    return value not in (None, "", ())


def _find_unit(name: str, field: FieldInfo) -> str:
    if field.annotation not in (int, float):
        return ""
    own = [one.name for one in field.metadata if isinstance(one, SettingUnit)]
    suffixes = [unit for suffix, unit in SUFFIX_UNITS.items() if name.endswith(suffix)]
    return next(iter((*own, *suffixes)), "")
