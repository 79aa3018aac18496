"""``adrelay migrate`` and ``adrelay seed``: what runs before the processes start."""

from typing import Annotated

import typer

from infra.commands.cli.options import examples


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog=examples("adrelay migrate", "adrelay migrate --wait"))(migrate)
    app.command(epilog=examples("adrelay seed", "adrelay seed --admin"))(seed)


def migrate(
    wait: Annotated[
        bool, typer.Option("--wait", help="Change nothing; return when a release has run.")
    ] = False,
) -> None:
    """Update database and broker.

    The release step: runs migrations, declares exchanges and queues. Safe to repeat.
    """
    from infra.commands import migrate as run

    raise typer.Exit(run.main(only_wait=wait))


def seed(
    admin: Annotated[
        bool, typer.Option("--admin", help="The first admin alone, as in production.")
    ] = False,
) -> None:
    """Create admin, API key and campaigns.

    What exists stays, but for the admin's password, which becomes that of the settings.
    """
    from infra.commands import seed as run

    raise typer.Exit(run.main(only_admin=admin))
