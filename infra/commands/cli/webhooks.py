"""``adrelay webhooks``: try what the ingress would do with a webhook."""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from infra.commands.cli.options import Json, examples, new_group

# Named, not imported: no module of infra imports handlers.
VERIFY_COMMAND = "handlers.webhooks.verify_command"

app = new_group("Verify webhooks.")


@app.callback()
def group() -> None:
    """Verify webhooks."""  # with a callback a single command keeps its name


@app.command(
    epilog=examples(
        "adrelay webhooks verify claude --header 'X-Claude-Signature: 9f2c…' --body body.json",
        "adrelay webhooks verify chatgpt --header 'webhook-id: msg_1' --header 'webhook-timestamp:"
        " 1795000000' --header 'webhook-signature: v1,…' --body - --now 2026-11-18T09:00:00Z",
    ),
)
def verify(
    source: Annotated[str, typer.Argument(help="A webhook source, such as claude.")],
    body: Annotated[
        str, typer.Option(metavar="FILE", help="The body, byte for byte; - is standard input.")
    ],
    headers: Annotated[
        list[str] | None,
        typer.Option("--header", metavar="'NAME: VALUE'", help="A header; may be repeated."),
    ] = None,
    secret_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Secrets, the newest first, instead of the settings'."),
    ] = None,
    now: Annotated[
        str | None, typer.Option(metavar="TIME", help="ISO 8601 or Unix seconds; default: now.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which check of a webhook fails, which secret matched and which events it becomes.

    Nothing is published. The exit status is 0 when every check succeeds, else 1.
    """
    run = import_module(VERIFY_COMMAND).run
    try:
        status = run(source, headers or (), body, secret_file, now, as_json=as_json)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(status)
