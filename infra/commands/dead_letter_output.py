"""How dead letters are shown at the command line: to people, and as JSON lines.

People see nothing that a publisher could have faked a row with; JSON is exact, with escapes.
"""

import sys
from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import RowMapping

from schemas.dead_letters import DeadLetterSummary
from schemas.escaping import escape, escape_json, escape_lines

LISTED = tuple(DeadLetterSummary.model_fields)
SHORT = 8  # characters of an id in a list
REASON_LENGTH = 300  # characters of a reason in a list


def print_entry(row: RowMapping, *, as_json: bool) -> None:
    """Print a letter on one line."""
    if as_json:
        print_json({name: row[name] for name in LISTED})
        return
    failed = f"{row['last_failed_at']:%Y-%m-%d %H:%M:%S}Z"
    head = f"{str(row['id'])[:SHORT]}  {row['state']:9} {escape(row['queue']):16} {failed}"
    reason = escape(row["reason"], REASON_LENGTH)
    print(f"{head}  x{row['attempts']} {escape(row['error_class'])}: {reason}")


def print_letter(row: RowMapping, body: bytes, *, as_json: bool) -> None:
    """Print all that is known of a letter, and its body below, indented."""
    text = body.decode(errors="backslashreplace")
    if as_json:
        print_json({**{str(name): value for name, value in row.items()}, "body": text})
        return
    for name, value in row.items():
        if name != "properties" and value is not None:
            print(f"{name:16} {escape(str(value))}")
    print(f"{'properties':16} {escape_json(orjson.dumps(row['properties'])).decode()}\n")
    for line in escape_lines(text).split("\n"):
        print(f"  {line}")


def print_done(row: RowMapping, what: str, *, as_json: bool) -> None:
    """Say what was done with a letter."""
    if as_json:
        print_json({"id": row["id"], "queue": row["queue"], "done": what})
    else:
        print(f"{row['id']}  {escape(row['queue'])}  {escape(what)}")


def print_refused(reason: str, *, as_json: bool = False, **names: object) -> None:
    """Say on standard error what was not done, and with ``as_json`` on standard output too."""
    print(escape(reason), file=sys.stderr)
    if as_json:
        print_json({**names, "refused": reason})


def print_json(value: Mapping[str, Any]) -> None:
    """Print a JSON line."""
    print(escape_json(orjson.dumps(value, default=str, option=orjson.OPT_UTC_Z)).decode())
