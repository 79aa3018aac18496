"""``adrelay history replay``: feed one queue from the event log again."""

import sys
from typing import Annotated

import typer

from infra.commands.cli.history_options import (
    FieldOption,
    SinceOption,
    SourceOption,
    SubjectOption,
    TypeOption,
    UntilOption,
    parse_filter,
)
from infra.commands.cli.options import Json, examples, exit_with


def register(app: typer.Typer) -> None:
    """Add the command to the group."""
    app.command(
        epilog=examples(
            "adrelay history replay --queue metrics.record --since 2h",
            "adrelay history replay --queue metrics.record --since 2h --yes",
            "adrelay history replay --queue metrics.record --since 2h --handle-again --yes",
        )
    )(replay)


def replay(
    *,
    queue: Annotated[str, typer.Option(help="The queue to feed.")],
    types: TypeOption = None,
    subject: SubjectOption = None,
    source: SourceOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    fields: FieldOption = None,
    rate: Annotated[int, typer.Option(min=1, max=1_000_000, help="Events a second.")] = 1000,
    yes: Annotated[
        bool, typer.Option("--yes", help="Send it; without, it is only counted.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin again instead of going on.")
    ] = False,
    handle_again: Annotated[
        bool, typer.Option("--handle-again", help="Also what the queue has handled. It asks first.")
    ] = False,
    allow_repeated_effects: Annotated[
        bool, typer.Option("--allow-repeated-effects", help="Do not ask about --handle-again.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also what the inbox may have forgotten, or over newer changes."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Send events of the log to one queue again; the inbox drops what it has handled."""
    parse_filter(types, subject, source, since, until, fields)  # what is wrong is said at once
    from infra.amqp.topology import WORK_QUEUE_NAMES
    from infra.commands import history as run
    from infra.commands.history_replay import ReplayCommand, replay

    if queue not in WORK_QUEUE_NAMES:
        raise typer.BadParameter(f"{queue} is none of {', '.join(WORK_QUEUE_NAMES)}")
    if yes and handle_again and not allow_repeated_effects:
        _ask(queue)
    typed = (types, subject, source, since, until, fields, handle_again, force)
    command = ReplayCommand(
        queue,
        repr(typed),
        lambda at: parse_filter(types, subject, source, since, until, fields, at=at),
        rate,
        handle_again,
        force,
        yes,
        restart,
    )
    exit_with(run.run(lambda session: replay(session, command), as_json=as_json))


def _ask(queue: str) -> None:
    """Ask before effects are repeated; exit status 1 unless a person agrees."""
    if not sys.stdin.isatty():
        typer.echo("--handle-again repeats effects: say --allow-repeated-effects too", err=True)
        raise typer.Exit(1)
    if not typer.confirm(f"{queue} handles again what it has handled. Go on?", err=True):
        raise typer.Exit(1)
