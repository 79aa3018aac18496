"""``adrelay queues``: list stopped queues and resume them."""

from typing import Annotated

import typer

from infra.commands.cli.options import Json, examples, exit_with, new_group

app = new_group("List and resume stopped queues.")


@app.command("list", epilog=examples("adrelay queues list", "adrelay queues list --json"))
def list_command(as_json: Json = False) -> None:
    """List the stopped queues, each with its reason and since when."""
    from infra.commands.queues import list_stopped, run

    exit_with(run(lambda tx: list_stopped(tx, as_json=as_json)))


@app.command(
    epilog=examples("adrelay queues resume metrics.record", "adrelay queues resume --all"),
)
def resume(
    queues: Annotated[
        list[str] | None, typer.Argument(metavar="QUEUE", help="Names of queues.")
    ] = None,
    all_queues: Annotated[bool, typer.Option("--all", help="Every stopped queue.")] = False,
    as_json: Json = False,
) -> None:
    """Let stopped queues be read again."""
    if bool(queues) == all_queues:
        raise typer.BadParameter("name queues, or --all")
    from infra.commands.queues import resume, run

    names = None if all_queues else queues
    exit_with(run(lambda tx: resume(tx, names, as_json=as_json)))
