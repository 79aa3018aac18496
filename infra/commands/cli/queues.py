"""``adrelay queues``: list queues, pause and resume queues, platforms and accounts."""

from typing import TYPE_CHECKING, Annotated

import typer

from infra.commands.cli.options import Json, examples, exit_with, new_group

if TYPE_CHECKING:
    from infra.storage.pauses import PauseTarget

app = new_group("List, pause and resume queues, platforms and accounts.")

Queues = Annotated[list[str] | None, typer.Argument(metavar="QUEUE", help="Names of queues.")]
Platforms = Annotated[
    list[str] | None,
    typer.Option("--platform", metavar="PLATFORM", help="A platform: nothing calls it."),
]
Accounts = Annotated[
    list[str] | None,
    typer.Option(
        "--account", metavar="PLATFORM:ID", help="The account of a user (its id) at a platform."
    ),
]


@app.command("list", epilog=examples("adrelay queues list", "adrelay queues list --json"))
def list_command(as_json: Json = False) -> None:
    """List every queue with its state, and the paused platforms and accounts."""
    from infra.commands.queues import list_queues, run

    exit_with(run(lambda tx: list_queues(tx, as_json=as_json)))


@app.command(
    epilog=examples(
        "adrelay queues pause metrics.record --reason 'the figures are wrong'",
        "adrelay queues pause --platform claude --reason 'its support asked us to wait'",
        "adrelay queues pause --account claude:6d9c1e0e-7d5f-4a41-9d3c-2f6b2f1f7a10 --reason fraud",
    ),
)
def pause(
    reason: Annotated[str, typer.Option(help="Why; everybody who looks will see it.")],
    queues: Queues = None,
    platforms: Platforms = None,
    accounts: Accounts = None,
    as_json: Json = False,
) -> None:
    """Pause queues, platforms or accounts: what is accepted waits, and nothing is lost."""
    targets = _read_targets(queues, platforms, accounts)
    if not targets:
        raise typer.BadParameter("name queues, --platform or --account")
    if not reason.strip():
        raise typer.BadParameter("a pause needs a reason", param_hint="--reason")
    from infra.commands.queues import pause, run

    exit_with(run(lambda tx: pause(tx, targets, reason, as_json=as_json)))


@app.command(
    epilog=examples(
        "adrelay queues resume metrics.record",
        "adrelay queues resume --platform claude",
        "adrelay queues resume --all",
    ),
)
def resume(
    queues: Queues = None,
    platforms: Platforms = None,
    accounts: Accounts = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Everything that is paused or stopped.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Resume what is paused, or was stopped by the queue circuit breaker."""
    targets = _read_targets(queues, platforms, accounts)
    if bool(targets) == everything:
        raise typer.BadParameter("name queues, --platform or --account, or else --all")
    from infra.commands.queues import resume, run_and_wake

    names = None if everything else targets
    exit_with(run_and_wake(lambda tx: resume(tx, names, as_json=as_json)))


def _read_targets(
    queues: list[str] | None, platforms: list[str] | None, accounts: list[str] | None
) -> "list[PauseTarget]":
    from infra.commands.queues import parse_account
    from infra.storage.pauses import PauseTarget

    targets = [PauseTarget("queue", name) for name in queues or ()]
    targets += [PauseTarget("platform", name) for name in platforms or ()]
    for given in accounts or ():
        account = parse_account(given)
        if account is None:
            raise typer.BadParameter("write platform:account id", param_hint="--account")
        targets.append(account)
    return targets
