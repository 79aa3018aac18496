"""``adrelay broker``: permissions of the broker's users, and messages that no queue took."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from infra.commands.cli.options import examples, exit_with, new_group

app = new_group("Print permissions, requeue messages.")


class Part(StrEnum):
    """Parts of the definitions that can be imported one after the other."""

    ALL = "all"
    RESOURCES = "resources"
    PERMISSIONS = "permissions"


@app.command(
    epilog=examples(
        "adrelay broker permissions --vhost adrelay --passwords passwords > definitions.json",
        "rabbitmqctl import_definitions definitions.json",
    ),
)
def permissions(
    vhost: Annotated[str, typer.Option(help="The vhost that they are for.")] = "adrelay",
    passwords: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Lines such as adrelay-ops='password'."),
    ] = None,
    part: Annotated[Part, typer.Option(help="What to print.")] = Part.ALL,
) -> None:
    """Print the broker's users and permissions as JSON definitions that RabbitMQ imports."""
    from infra.commands.broker_permissions import read_passwords, write_definitions

    try:
        known = {} if passwords is None else read_passwords(passwords)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(write_definitions(vhost, known, part.value))


@app.command(epilog=examples("adrelay broker requeue-unrouted"))
def requeue_unrouted() -> None:
    """Send unrouted messages again, and what was accepted while a path was broken."""
    from infra.commands.requeue_unrouted import run

    exit_with(run())
