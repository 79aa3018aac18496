"""Lists every environment variable with its default and meaning."""

from infra.commands.output import print_json, print_table
from infra.settings import GROUPS
from infra.settings.listing import describe_default

COLUMNS = ("VARIABLE", "DEFAULT", "MEANING")


def print_settings(*, as_json: bool) -> None:
    """Print the settings; the default of a secret is left empty."""
    fields = {name: field for group in GROUPS for name, field in group.model_fields.items()}
    rows = [
        (name.upper(), describe_default(field), field.description or "")
        for name, field in fields.items()
    ]
    if as_json:
        for name, default, description in rows:
            print_json({"name": name, "default": default, "description": description})
    else:
        print_table(COLUMNS, rows)
