"""Lists every environment variable with its default and meaning."""

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from infra.commands.output import print_json, print_table
from infra.settings import GROUPS

COLUMNS = ("VARIABLE", "DEFAULT", "MEANING")


def print_settings(*, as_json: bool) -> None:
    """Print the settings; the default of a secret is left empty."""
    fields = {name: field for group in GROUPS for name, field in group.model_fields.items()}
    rows = [
        (name.upper(), _describe_default(field), field.description or "")
        for name, field in fields.items()
    ]
    if as_json:
        for name, default, description in rows:
            print_json({"name": name, "default": default, "description": description})
    else:
        print_table(COLUMNS, rows)


def _describe_default(field: FieldInfo) -> str:
    if field.default is None or isinstance(field.default, SecretStr):
        return ""
    return (
        " ".join(map(str, field.default))
        if isinstance(field.default, tuple)
        else str(field.default)
    )
