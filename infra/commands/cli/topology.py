"""``adrelay topology``: show, compare, apply and export the broker's topology."""

from pathlib import Path
from typing import Annotated

import typer

from infra.commands.cli.broker import Part
from infra.commands.cli.options import Json, examples, exit_with, new_group

app = new_group("Show, compare, apply and export exchanges, queues, bindings and permissions.")


@app.command(epilog=examples("adrelay topology show", "adrelay topology show --json"))
def show(as_json: Json = False) -> None:
    """Show every exchange, queue, policy and user of the topology with its state."""
    from infra.commands import topology as run

    exit_with(run.run(run.show, as_json=as_json))


@app.command(epilog=examples("adrelay topology diff", "adrelay topology diff --json"))
def diff(as_json: Json = False) -> None:
    """Say in words how the broker differs from the topology, and what to do about it.

    The exit status is 0 without a difference, 1 with one.
    """
    from infra.commands import topology as run

    exit_with(run.run(run.diff, as_json=as_json))


@app.command(epilog=examples("adrelay topology apply", "adrelay topology apply --yes"))
def apply(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Add what the broker lacks, and correct policies and permissions.

    Shows the changes first and asks. Nothing is deleted: what cannot be changed in place is
    explained, and the exit status is then 1.
    """
    from infra.commands import topology as run

    def confirm(question: str) -> bool:
        return yes or typer.confirm(question, err=True)

    exit_with(run.run(lambda session: run.apply(session, confirm), as_json=as_json))


@app.command(
    epilog=examples(
        "adrelay topology export --vhost adrelay --passwords passwords > definitions.json",
        "rabbitmqctl import_definitions definitions.json",
    ),
)
def export(
    vhost: Annotated[str, typer.Option(help="The vhost that they are for.")] = "adrelay",
    passwords: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Lines such as adrelay-ops='password'; only hashes of them are printed.",
        ),
    ] = None,
    part: Annotated[Part, typer.Option(help="What to print.")] = Part.ALL,
) -> None:
    """Print the topology as JSON definitions that RabbitMQ imports.

    Exchanges, queues, bindings, policies and permissions; users only with --passwords.
    """
    from infra.commands.topology import export as write

    try:
        typer.echo(write(vhost, passwords, part.value))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
