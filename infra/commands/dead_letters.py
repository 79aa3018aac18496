"""Dead letters at the command line: ``python -m infra.commands.dead_letters COMMAND``.

    list     [--queue Q] [--state open|replayed|discarded|all] [--fingerprint F]
    show     ID
    edit     ID [--set data.clicks=3 ... | --body FILE, - for standard input]
                [--header cloudEvents_id=e-1 ...] [--property content_type=application/json ...]
    replay   ID ... | --queue Q | --fingerprint F   [--new-id] [--force]
    discard  ID ... | --queue Q | --fingerprint F

An ID may be shortened while it stays unique; beside one, --queue and --fingerprint must agree
with it. --set names a field of the event, also in binary mode, where id or source is a header.
An empty value of a header or property removes it. A replay goes to the letter's own queue alone,
through the outbox, in the transaction that notes it. What can be done is done, and the rest is
named with its reason. --json prints JSON lines.
Exit status: 0 done, 1 not found or refused, wholly or in part, 2 usage.
"""

import argparse
import asyncio
import getpass
import io
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import RowMapping, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.commands.dead_letter_output import print_done, print_entry, print_letter, print_refused
from infra.messaging import outbox, replay
from infra.messaging.dead_letter_content import CannotChange, Changes
from infra.messaging.replay import How, Objection, ReplayError
from infra.settings import Settings, load_settings
from infra.storage.dead_letter_ids import parse_id_prefix
from infra.storage.dead_letters import (
    DeadLetterFilter,
    find_dead_letters,
    list_next_dead_letters,
    read_body,
)
from infra.storage.engine import open_engine
from infra.storage.redis import open_redis

PAGE = 200  # letters in one transaction
NONE = "there is no such dead letter"

Act = Callable[[AsyncConnection, Sequence[RowMapping]], Awaitable[list[Objection]]]


@dataclass(frozen=True, slots=True)
class Command:
    """What was asked for, and the database to do it in."""

    asked: argparse.Namespace
    engine: AsyncEngine
    settings: Settings

    @property
    def wanted(self) -> DeadLetterFilter:
        """The letters that the options name."""
        state = getattr(self.asked, "state", "open")
        return DeadLetterFilter(
            None if state == "all" else state, self.asked.queue, self.asked.fingerprint
        )


async def list_letters(command: Command) -> bool:
    """Print the letters that are asked for, the oldest failure first."""
    total, after = 0, None
    async with command.engine.connect() as tx:
        while rows := await list_next_dead_letters(tx, command.wanted, after=after, limit=PAGE):
            for row in rows:
                print_entry(row, as_json=command.asked.json)
            total += len(rows)
            after = (rows[-1]["first_failed_at"], rows[-1]["id"])
    if not command.asked.json:
        print(f"{total} dead letter{'' if total == 1 else 's'}")
    return True


async def show_letter(command: Command) -> bool:
    """Print one letter with all that is known of it, and its body."""
    async with command.engine.connect() as tx:
        row = await _one(tx, command.asked.id, command.asked)
        print_letter(row, await read_body(tx, row["id"]), as_json=command.asked.json)
    return True


async def edit_letter(command: Command) -> bool:
    """Change a letter's body, attributes or properties; what is still wrong is said."""
    asked, settings = command.asked, command.settings
    changes = Changes(
        fields=_fields(asked.set or ()),
        body=None if asked.body is None else _read(asked.body, settings.max_event_bytes),
        headers=_pairs(asked.header or ()),
        properties=_pairs(asked.property or ()),
    )
    async with command.engine.begin() as tx:
        row = await _one(tx, asked.id, asked, lock=True)
        wrong = await replay.edit(tx, row, changes, getpass.getuser(), settings)
    what = "edited" if wrong is None else f"edited, but still wrong: {wrong}"
    print_done(row, what, as_json=asked.json)
    return True


async def replay_letters(command: Command) -> bool:
    """Send letters to their queues again, once the transaction has committed."""
    how = How(new_id=command.asked.new_id, force=command.asked.force)

    async def act(tx: AsyncConnection, rows: Sequence[RowMapping]) -> list[Objection]:
        return await replay.send_again(tx, rows, getpass.getuser(), command.settings, how)

    return await _carry_out(command, "replayed", act)


async def discard_letters(command: Command) -> bool:
    """Give letters up for good; they stay on file."""

    async def act(tx: AsyncConnection, rows: Sequence[RowMapping]) -> list[Objection]:
        return await replay.give_up(tx, rows, getpass.getuser())

    return await _carry_out(command, "discarded", act)


COMMANDS: dict[str, Callable[[Command], Awaitable[bool]]] = {
    "list": list_letters,
    "show": show_letter,
    "edit": edit_letter,
    "replay": replay_letters,
    "discard": discard_letters,
}


async def _carry_out(command: Command, what: str, act: Act) -> bool:
    """Act on the named letters, or page by page on all open ones; tells whether on all of them."""
    if command.asked.ids:
        return await _carry_out_by_id(command, what, act)
    after, found, done = None, False, True
    async with command.engine.connect() as tx:
        # What dies again in the meantime is filed later, and not acted on a second time.
        now = (await tx.execute(select(func.now()))).scalar_one()
    while True:
        async with command.engine.begin() as tx:
            rows = await list_next_dead_letters(
                tx, command.wanted, after=after, filed_until=now, limit=PAGE, lock=True
            )
            objections = await act(tx, rows)
        if not rows:
            break
        found = True
        done &= not objections
        _tell(command.asked, rows, objections, what)
        after = (rows[-1]["first_failed_at"], rows[-1]["id"])
    if not found:
        raise ReplayError(NONE)
    return done


async def _carry_out_by_id(command: Command, what: str, act: Act) -> bool:
    done = True
    for typed in command.asked.ids:
        try:
            async with command.engine.begin() as tx:
                rows = [await _one(tx, typed, command.asked, lock=True)]
                objections = await act(tx, rows)
        except ReplayError as refused:
            several = command.asked.json and len(command.asked.ids) > 1
            print_refused(str(refused), as_json=several, id=typed)
            done = False
            continue
        done &= not objections
        _tell(command.asked, rows, objections, what)
    return done


def _tell(
    asked: argparse.Namespace,
    rows: Sequence[RowMapping],
    objections: Sequence[Objection],
    what: str,
) -> None:
    reasons = {objection.letter: objection.reason for objection in objections}
    for row in rows:
        if (reason := reasons.get(row["id"])) is None:
            print_done(row, what, as_json=asked.json)
        else:
            several = asked.json and len(asked.ids) != 1
            print_refused(reason, as_json=several, id=row["id"], queue=row["queue"])


async def _one(
    tx: AsyncConnection, typed: str, asked: argparse.Namespace, *, lock: bool = False
) -> RowMapping:
    """Find the letter whose id begins with what was typed. Raises ``ReplayError``."""
    ids = parse_id_prefix(typed)
    if ids is None:
        raise ReplayError(
            f"{typed[:100]!r} is no id: it has hexadecimal digits, as list shows them"
        )
    rows = await find_dead_letters(tx, *ids, lock=lock)
    if not rows:
        raise ReplayError(f"there is no dead letter {typed}")
    if len(rows) > 1:
        raise ReplayError(f"{typed} begins the id of several dead letters")
    (row,) = rows
    for name in ("queue", "fingerprint"):
        wanted = getattr(asked, name)
        if wanted is not None and row[name] != wanted:
            raise ReplayError(f"{row['id']} has the {name} {row[name]}, not {wanted}")
    return row


def _fields(texts: Sequence[str]) -> dict[str, Any]:
    """Read changes such as ``data.clicks=3``; a value that is no JSON is text."""
    found: dict[str, Any] = {}
    for path, value in _split(texts):
        try:
            found[path] = orjson.loads(value)
        except orjson.JSONDecodeError:
            found[path] = value
    return found


def _pairs(texts: Sequence[str]) -> dict[str, str | None]:
    """Read texts such as ``content_type=application/json``; an empty value removes."""
    return {name: value or None for name, value in _split(texts)}


def _split(texts: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise ReplayError(f"{name[:100]!r} names no value")
        pairs.append((name, value))
    return pairs


def _read(source: str, most: int) -> bytes:
    """Read a body, and no more of it than one byte too many."""
    try:
        if source == "-":
            return sys.stdin.buffer.read(most + 1)
        with Path(source).open("rb") as file:
            return file.read(most + 1)
    except OSError as error:
        raise ReplayError(f"{source} cannot be read: {error.strerror}") from error


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits with 2 when it cannot be understood."""
    parser = argparse.ArgumentParser("python -m infra.commands.dead_letters", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    for name in COMMANDS:
        command = commands.add_parser(name)
        command.add_argument("--json", action="store_true")
        command.add_argument("--queue")
        command.add_argument("--fingerprint")
        if name in ("show", "edit"):
            command.add_argument("id")
        if name == "list":
            states = ("open", "replayed", "discarded", "all")
            command.add_argument("--state", choices=states, default="open")
        if name in ("replay", "discard"):
            command.add_argument("ids", nargs="*", metavar="ID")
        if name == "replay":
            command.add_argument("--new-id", action="store_true")
            command.add_argument("--force", action="store_true")
        if name == "edit":
            how = command.add_mutually_exclusive_group()
            how.add_argument("--set", action="append", metavar="FIELD=JSON")
            how.add_argument("--body", metavar="FILE")
            command.add_argument("--header", action="append", metavar="NAME=TEXT")
            command.add_argument("--property", action="append", metavar="NAME=TEXT")
    asked = parser.parse_args(arguments)
    _check_usage(parser, asked)
    return asked


def _check_usage(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> None:
    named = getattr(asked, "ids", None) or asked.queue or asked.fingerprint
    if asked.command in ("replay", "discard") and not named:
        parser.error("name letters, or --queue, or --fingerprint")
    if asked.command == "edit" and not (
        asked.set or asked.body is not None or asked.header or asked.property
    ):
        parser.error("say what to edit: --set, --body, --header or --property")


def _write_what_the_terminal_knows() -> None:
    """Escape characters that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


async def run(arguments: Sequence[str]) -> int:
    """Do what the command line says; tells the exit status."""
    asked = parse(arguments)
    _write_what_the_terminal_knows()
    settings = load_settings()
    engine, redis = open_engine(settings), open_redis(settings)
    try:
        done = await COMMANDS[asked.command](Command(asked, engine, settings))
    except (ReplayError, CannotChange) as refusal:
        print_refused(str(refusal))
        return 1
    except BrokenPipeError:  # nobody reads on, as with ``list | head``
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (SQLAlchemyError, OSError) as error:
        print(f"the database does not answer: {type(error).__name__}", file=sys.stderr)
        return 1
    finally:
        if asked.command == "replay":
            await outbox.notify(redis)
        await engine.dispose()
        await redis.aclose()
    return 0 if done else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(run(sys.argv[1:])))
