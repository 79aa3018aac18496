"""``adrelay doctor``: check settings, servers, versions and topology."""

from typing import Annotated

import typer

from infra.commands.cli.options import Json, examples, exit_with


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog=examples("adrelay doctor", "adrelay doctor --json"))(doctor)


def doctor(
    as_json: Json = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=60, help="Seconds that each check may take.")
    ] = 3.0,
) -> None:
    """Check the whole installation.

    Settings, servers, versions, topology, workers, certificates; each finding with what to do.
    Nothing is changed. The exit status says the worst: 0 nothing but notes, 1 a warning, 3 an
    error (2 is usage).
    """
    from infra.commands.doctor.command import run

    exit_with(run(timeout, as_json=as_json))
