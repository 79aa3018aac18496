"""Prints dead letters for people and as JSON lines."""

from collections.abc import Sequence

import orjson
from sqlalchemy import RowMapping

from infra.commands.output import format_time, print_error, print_json, print_table
from schemas.dead_letters import DeadLetterSummary
from schemas.escaping import escape, escape_json, escape_lines

LIST_FIELDS = tuple(DeadLetterSummary.model_fields)
COLUMNS = ("ID", "STATE", "QUEUE", "LAST FAILED", "ATTEMPTS", "CODE", "REASON")
SHORT_ID_LENGTH = 8  # characters of an id in a list
REASON_LENGTH = 300  # characters of a reason in a list


def print_rows(rows: Sequence[RowMapping], *, as_json: bool, header: bool) -> None:
    """Print a page of a list: a line for each dead letter."""
    if as_json:
        for row in rows:
            print_json({name: row[name] for name in LIST_FIELDS})
    else:
        print_table(COLUMNS, map(_to_cells, rows), header=header)


def _to_cells(row: RowMapping) -> tuple[str, ...]:
    return (
        str(row["id"])[:SHORT_ID_LENGTH],
        row["state"],
        row["queue"],
        format_time(row["last_failed_at"]),
        str(row["attempts"]),
        row["error_class"],
        escape(row["reason"], REASON_LENGTH),
    )


def print_dead_letter(row: RowMapping, body: bytes, *, as_json: bool) -> None:
    """Print all that is known of a dead letter, and its body below, indented."""
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
    """Print what was done with a dead letter."""
    if as_json:
        print_json({"id": row["id"], "queue": row["queue"], "done": what})
    else:
        print(f"{row['id']}  {escape(row['queue'])}  {escape(what)}")


def print_refused(reason: str, *, as_json: bool = False, **names: object) -> None:
    """Print on standard error what was not done; ``as_json`` prints a JSON line as well."""
    print_error(reason)
    if as_json:
        print_json({**names, "refused": reason})
