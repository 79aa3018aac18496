"""``adrelay restore``: give a database that was put back the effects that it lacks."""

from typing import Annotated

import typer

from infra.commands.cli.options import Json, examples


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(
        epilog=examples(
            "adrelay restore --from-log --dry-run",
            "adrelay restore --from-log",
            "adrelay restore --from-log --yes --json",
        )
    )(restore)


def restore(
    from_log: Annotated[
        bool, typer.Option("--from-log", help="From the event log; there is no other way.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    accept_gap: Annotated[
        bool, typer.Option("--accept-gap", help="Restore without what the log no longer has.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Restore from the event log what a database lacks.

    After a backup was put back, or a standby was promoted that lagged. Stop the workers first. It
    can be ended at any time, and run again.
    """
    if not from_log:
        raise typer.BadParameter("say --from-log")
    if as_json and not (yes or dry_run):
        raise typer.BadParameter("--json does not ask: say --yes or --dry-run")
    import uvloop

    from infra.commands.restore import run

    asks = not (yes or dry_run)
    running = run(dry_run=dry_run, accept_gap=accept_gap, as_json=as_json, confirm=asks)
    raise typer.Exit(uvloop.run(running))
