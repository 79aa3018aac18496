"""Lists every environment variable with its default and meaning."""

from pydantic import SecretStr

from infra.commands.output import print_json, print_table
from infra.rate_limit_settings import RateSettings
from infra.settings import Settings

COLUMNS = ("VARIABLE", "DEFAULT", "MEANING")


def print_settings(*, as_json: bool) -> None:
    """Print the settings, the rate limits last; the default of a secret is left empty."""
    rates = RateSettings.model_fields
    rows = [
        (name.upper(), _describe_default(name), Settings.model_fields[name].description or "")
        for name in sorted(Settings.model_fields, key=lambda name: name in rates)
    ]
    if as_json:
        for name, default, description in rows:
            print_json({"name": name, "default": default, "description": description})
    else:
        print_table(COLUMNS, rows)


def _describe_default(name: str) -> str:
    default = Settings.model_fields[name].default
    if default is None or isinstance(default, SecretStr):
        return ""
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
