"""``adrelay keys``: generate the keys of an installation, and rotate the one that signs."""

from pathlib import Path
from typing import Annotated

import typer

from infra.commands.cli.options import Json, examples, new_group

app = new_group("Generate keys, rotate the signing key.")


@app.command(epilog=examples("adrelay keys generate > keys.env"))
def generate(as_json: Json = False) -> None:
    """Print new keys as NAME=value lines.

    They are for the environment files of a new installation. Nothing is stored.
    """
    from infra.commands.generate_keys import print_keys

    print_keys(as_json=as_json)


@app.command(
    epilog=examples(
        "adrelay keys rotate", "adrelay keys rotate --env env --auth-env auth.env --json"
    ),
)
def rotate(
    env: Annotated[Path, typer.Option(metavar="FILE", help="Settings of every process.")] = Path(
        ".services/env"
    ),
    auth_env: Annotated[
        Path, typer.Option(metavar="FILE", help="Settings of the auth worker alone.")
    ] = Path(".services/auth.env"),
    as_json: Json = False,
) -> None:
    """Make the next step of a key rotation, and say what to restart and when to go on."""
    from infra.commands.rotate_keys import rotate_and_report

    raise typer.Exit(rotate_and_report(env, auth_env, as_json=as_json))
