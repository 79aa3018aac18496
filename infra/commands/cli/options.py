"""Options and help texts that several commands share."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, NoReturn

import typer

INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it

Json = Annotated[bool, typer.Option("--json", help="Print JSON lines for programs.")]


def examples(*lines: str) -> str:
    """Write the example lines below the help of a command."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def new_group(help_text: str) -> typer.Typer:
    """Make a group of commands, which shows its help when no command is named."""
    return typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None)


def exit_with(command: Coroutine[Any, Any, int]) -> NoReturn:
    """Run a command to its end and exit with its status: 130 if it was interrupted (Ctrl-C)."""
    try:
        status = asyncio.run(command)
    except KeyboardInterrupt:
        status = INTERRUPTED
    raise typer.Exit(status)
