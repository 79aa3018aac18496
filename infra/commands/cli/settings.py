"""``adrelay settings``: list every environment variable."""

import typer

from infra.commands.cli.options import Json, examples


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog=examples("adrelay settings", "adrelay settings --json"))(settings)


def settings(as_json: Json = False) -> None:
    """List every environment variable.

    With its default and its meaning.
    """
    from infra.commands.settings import print_settings

    print_settings(as_json=as_json)
