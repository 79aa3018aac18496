"""Dead letters at the command line: ``python -m infra.dead list|show|edit|replay|discard``.

    list     [--queue Q] [--state open|replayed|discarded|all] [--fingerprint F]
    show     ID
    edit     ID (--set data.clicks=3 ... | --body FILE, - for standard input)
    replay   ID ... | --queue Q | --fingerprint F   [--new-id] [--force]
    discard  ID ... | --queue Q | --fingerprint F

An ID may be shortened while it stays unique. A replay goes to the letter's own queue alone,
through the outbox, in the transaction that notes it. ``--json`` prints JSON lines.
Exit status: 0 done, 1 not found or refused, 2 usage.
"""

import argparse
import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import RowMapping
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from infra import outbox, replay
from infra.replay import Refused
from infra.resources import open_engine, open_redis
from infra.settings import load_settings
from infra.store.dead_letters import find_letters
from schemas.dead_letters import LetterEntry

LISTED = tuple(LetterEntry.model_fields)
SHORT = 8


async def list_letters(tx: AsyncConnection, asked: argparse.Namespace) -> None:
    """Print the letters that are asked for, the oldest failure first."""
    state = None if asked.state == "all" else asked.state
    rows = await find_letters(tx, state=state, queue=asked.queue, fingerprint=asked.fingerprint)
    for row in rows:
        if asked.json:
            _print_json({name: row[name] for name in LISTED})
        else:
            failed = f"{row['last_failed_at']:%Y-%m-%d %H:%M:%S}Z"
            head = f"{str(row['id'])[:SHORT]}  {row['state']:9} {row['queue']:16} {failed}"
            print(f"{head}  x{row['attempts']} {row['error_class']}: {row['reason']}")
    if not asked.json:
        print(f"{len(rows)} dead letter{'' if len(rows) == 1 else 's'}")


async def show_letter(tx: AsyncConnection, asked: argparse.Namespace) -> None:
    """Print one letter with all that is known of it, and its body."""
    row = await _one(tx, asked.id)
    body = row["body"].decode(errors="backslashreplace")
    if asked.json:
        _print_json({**row, "body": body})
        return
    for name, value in row.items():
        if name not in ("body", "properties") and value is not None:
            print(f"{name:16} {value}")
    print(f"{'properties':16} {orjson.dumps(row['properties']).decode()}\n\n{body}")


async def edit_letter(tx: AsyncConnection, asked: argparse.Namespace) -> None:
    """Replace a letter's body, or single fields of it; what is still wrong is said."""
    row = await _one(tx, asked.id, lock=True)
    replay.check_open([row])
    try:
        body = replay.edited(row["body"], _changes(asked.set)) if asked.set else _read(asked.body)
    except (ValueError, OSError) as error:
        raise Refused(str(error)) from error
    wrong = await replay.mend(tx, row, body, getpass.getuser(), load_settings())
    _tell(asked, row, "edited" if wrong is None else f"edited, but still wrong: {wrong}")


async def replay_letters(tx: AsyncConnection, asked: argparse.Namespace) -> None:
    """Send letters to their queues again, once the transaction has committed."""
    rows = await _named(tx, asked)
    await replay.send_again(
        tx, rows, getpass.getuser(), load_settings(), new_id=asked.new_id, force=asked.force
    )
    for row in rows:
        _tell(asked, row, "replayed")


async def discard_letters(tx: AsyncConnection, asked: argparse.Namespace) -> None:
    """Give letters up for good; they stay on file."""
    rows = await _named(tx, asked)
    await replay.give_up(tx, rows, getpass.getuser())
    for row in rows:
        _tell(asked, row, "discarded")


COMMANDS: dict[str, Callable[[AsyncConnection, argparse.Namespace], Awaitable[None]]] = {
    "list": list_letters,
    "show": show_letter,
    "edit": edit_letter,
    "replay": replay_letters,
    "discard": discard_letters,
}


async def _one(tx: AsyncConnection, prefix: str, *, lock: bool = False) -> RowMapping:
    rows = await find_letters(tx, prefix=prefix.lower(), lock=lock, most=2)
    if not rows:
        raise Refused(f"there is no dead letter {prefix}")
    if len(rows) > 1:
        raise Refused(f"{prefix} begins the id of several dead letters")
    return rows[0]


async def _named(tx: AsyncConnection, asked: argparse.Namespace) -> list[RowMapping]:
    """Find and lock the letters that are named, or all open ones of a queue or fingerprint."""
    if asked.ids:
        return [await _one(tx, prefix, lock=True) for prefix in asked.ids]
    return await find_letters(
        tx, state="open", queue=asked.queue, fingerprint=asked.fingerprint, lock=True
    )


def _changes(texts: Sequence[str]) -> dict[str, Any]:
    """Read changes such as ``data.clicks=3``; a value that is no JSON is text."""
    found: dict[str, Any] = {}
    for change in texts:
        path, separator, value = change.partition("=")
        if not separator:
            raise ValueError(f"{path!r} names no value")
        try:
            found[path] = orjson.loads(value)
        except orjson.JSONDecodeError:
            found[path] = value
    return found


def _read(source: str) -> bytes:
    return sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()


def _tell(asked: argparse.Namespace, row: RowMapping, what: str) -> None:
    if asked.json:
        _print_json({"id": row["id"], "queue": row["queue"], "done": what})
    else:
        print(f"{row['id']}  {row['queue']}  {what}")


def _print_json(value: dict[str, Any]) -> None:
    print(orjson.dumps(value, default=str, option=orjson.OPT_UTC_Z).decode())


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits with 2 when it cannot be understood."""
    parser = argparse.ArgumentParser("python -m infra.dead", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    for name in COMMANDS:
        command = commands.add_parser(name)
        command.add_argument("--json", action="store_true")
        if name in ("show", "edit"):
            command.add_argument("id")
        else:
            command.add_argument("--queue")
            command.add_argument("--fingerprint")
        if name == "list":
            states = ("open", "replayed", "discarded", "all")
            command.add_argument("--state", choices=states, default="open")
        if name in ("replay", "discard"):
            command.add_argument("ids", nargs="*", metavar="ID")
        if name == "replay":
            command.add_argument("--new-id", action="store_true")
            command.add_argument("--force", action="store_true")
        if name == "edit":
            how = command.add_mutually_exclusive_group(required=True)
            how.add_argument("--set", action="append", metavar="FIELD=JSON")
            how.add_argument("--body", metavar="FILE")
    asked = parser.parse_args(arguments)
    if asked.command in ("replay", "discard") and not (
        asked.ids or asked.queue or asked.fingerprint
    ):
        parser.error("name letters, or --queue, or --fingerprint")
    return asked


async def run(arguments: Sequence[str]) -> int:
    """Do what the command line says, in one transaction; tells the exit status."""
    asked = parse(arguments)
    settings = load_settings()
    engine, redis = open_engine(settings), open_redis(settings)
    try:
        async with engine.begin() as tx:
            await COMMANDS[asked.command](tx, asked)
        if asked.command == "replay":
            await outbox.hint(redis)
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        return 1
    except (SQLAlchemyError, OSError) as error:
        print(f"the database does not answer: {type(error).__name__}", file=sys.stderr)
        return 1
    finally:
        await engine.dispose()
        await redis.aclose()
    return 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(run(sys.argv[1:])))
