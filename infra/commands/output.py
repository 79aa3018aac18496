"""Prints results: tables for people, JSON lines for programs.

Values come from publishers and platforms. People read them escaped (``schemas.escaping``) and
without markup, so that no value looks like a row or a colour; JSON is exact, with escapes. What is
printed does not depend on the terminal unless there is one: without it nothing is cut or coloured.
"""

import io
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from schemas.escaping import escape, escape_json

WIDTH = 1_000_000  # columns where there is no terminal, so that nothing is cut


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, header: bool = True
) -> None:
    """Print rows below the names of their columns; a terminal folds long values."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=header, header_style="bold")
    for column in columns:
        table.add_column(Text(column), overflow="fold", no_wrap=False)
    for row in rows:
        table.add_row(*(Text(escape(value)) for value in row))
    if sys.stdout.isatty():
        Console(markup=False, highlight=False, emoji=False).print(table)
        return
    text = Console(file=io.StringIO(), width=WIDTH, color_system=None, force_terminal=False)
    with text.capture() as captured:
        text.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())


def print_json(value: Mapping[str, Any]) -> None:
    """Print a JSON line; times are written in UTC."""
    print(escape_json(orjson.dumps(value, default=str, option=orjson.OPT_UTC_Z)).decode())


def print_json_line(document: bytes) -> None:
    """Print a JSON document of one line as it is, with escapes."""
    print(escape_json(document).decode())


def print_error(reason: str) -> None:
    """Print a sentence on standard error."""
    print(escape(reason), file=sys.stderr)


def format_time(at: datetime) -> str:
    """Write an aware time in UTC, to the second."""
    return f"{at:%Y-%m-%d %H:%M:%S}Z"


def replace_unencodable() -> None:
    """Escape characters that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Send further output nowhere, after its reader has ended (``adrelay ... | head``)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
