"""Lists, shows, edits, replays and discards dead letters in the database.

A replay goes only to the queue of the dead letter, through the outbox, in the transaction that
records it. Of several dead letters each is judged alone: what can be done is done, and the rest is
named with its reason.
"""

import getpass
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import RowMapping, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.commands.dead_letter_output import (
    print_dead_letter,
    print_done,
    print_refused,
    print_rows,
)
from infra.commands.output import discard_output, print_error, replace_unencodable
from infra.messaging import outbox, replay
from infra.messaging.dead_letter_content import Changes, InvalidChange
from infra.messaging.replay import ReplayError, ReplayObjection, ReplayOptions
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

PAGE_SIZE = 200  # dead letters in one transaction
NOT_FOUND = "there is no such dead letter"

DeadLetterAction = Callable[
    [AsyncConnection, Sequence[RowMapping]], Awaitable[list[ReplayObjection]]
]


@dataclass(frozen=True, slots=True)
class Selection:
    """The dead letters that a command names: by id, by queue, by fingerprint. None: any."""

    ids: tuple[str, ...] = ()
    queue: str | None = None
    fingerprint: str | None = None
    state: str | None = "open"

    @property
    def filter(self) -> DeadLetterFilter:
        """The filter of a query for all of them, without the ids."""
        return DeadLetterFilter(self.state, self.queue, self.fingerprint)


@dataclass(frozen=True, slots=True)
class CommandSession:
    """The database that a command works on, and how it prints."""

    engine: AsyncEngine
    settings: Settings
    as_json: bool


async def list_selected(session: CommandSession, selection: Selection) -> bool:
    """Print the selected dead letters, the oldest failure first."""
    total, after = 0, None
    async with session.engine.connect() as tx:
        while rows := await list_next_dead_letters(
            tx, selection.filter, after=after, limit=PAGE_SIZE
        ):
            print_rows(rows, as_json=session.as_json, header=not total)
            total += len(rows)
            after = (rows[-1]["first_failed_at"], rows[-1]["id"])
    if not session.as_json:
        print(f"{total} dead letter{'' if total == 1 else 's'}")
    return True


async def show(session: CommandSession, selection: Selection) -> bool:
    """Print a dead letter with all that is known of it, and its body."""
    async with session.engine.connect() as tx:
        row = await _find_one(tx, selection.ids[0], selection)
        print_dead_letter(row, await read_body(tx, row["id"]), as_json=session.as_json)
    return True


async def edit(session: CommandSession, selection: Selection, changes: Changes) -> bool:
    """Change the body, attributes or properties of a dead letter; prints what is still invalid."""
    async with session.engine.begin() as tx:
        row = await _find_one(tx, selection.ids[0], selection, lock=True)
        wrong = await replay.edit(tx, row, changes, getpass.getuser(), session.settings)
    what = "edited" if wrong is None else f"edited, but still wrong: {wrong}"
    print_done(row, what, as_json=session.as_json)
    return True


async def replay_selected(
    session: CommandSession, selection: Selection, how: ReplayOptions
) -> bool:
    """Send dead letters to their queues again, once the transaction has committed."""

    async def act(tx: AsyncConnection, rows: Sequence[RowMapping]) -> list[ReplayObjection]:
        return await replay.replay(tx, rows, getpass.getuser(), session.settings, how)

    return await _run_action(session, selection, "replayed", act)


async def discard(session: CommandSession, selection: Selection) -> bool:
    """Close dead letters without a replay; their rows stay for ``DEAD_LETTER_DAYS``."""

    async def act(tx: AsyncConnection, rows: Sequence[RowMapping]) -> list[ReplayObjection]:
        return await replay.discard(tx, rows, getpass.getuser())

    return await _run_action(session, selection, "discarded", act)


async def _run_action(
    session: CommandSession, selection: Selection, what: str, act: DeadLetterAction
) -> bool:
    """Act on the named dead letters, or page by page on all open ones.

    Returns whether nothing was refused. Raises ``ReplayError`` when there is none.
    """
    if selection.ids:
        return await _run_action_by_id(session, selection, what, act)
    after, found, done = None, False, True
    async with session.engine.connect() as tx:
        # What fails again in the meantime is filed later, and not acted on a second time.
        now = (await tx.execute(select(func.now()))).scalar_one()
    while True:
        async with session.engine.begin() as tx:
            rows = await list_next_dead_letters(
                tx, selection.filter, after=after, filed_until=now, limit=PAGE_SIZE, lock=True
            )
            objections = await act(tx, rows)
        if not rows:
            break
        found = True
        done &= not objections
        _print_results(session, rows, objections, what, is_one=False)
        after = (rows[-1]["first_failed_at"], rows[-1]["id"])
    if not found:
        raise ReplayError(NOT_FOUND)
    return done


async def _run_action_by_id(
    session: CommandSession, selection: Selection, what: str, act: DeadLetterAction
) -> bool:
    done, is_one = True, len(selection.ids) == 1
    for typed in selection.ids:
        try:
            async with session.engine.begin() as tx:
                rows = [await _find_one(tx, typed, selection, lock=True)]
                objections = await act(tx, rows)
        except ReplayError as refused:
            print_refused(str(refused), as_json=session.as_json and not is_one, id=typed)
            done = False
            continue
        done &= not objections
        _print_results(session, rows, objections, what, is_one=is_one)
    return done


def _print_results(
    session: CommandSession,
    rows: Sequence[RowMapping],
    objections: Sequence[ReplayObjection],
    what: str,
    *,
    is_one: bool,
) -> None:
    reasons = {objection.letter: objection.reason for objection in objections}
    for row in rows:
        if (reason := reasons.get(row["id"])) is None:
            print_done(row, what, as_json=session.as_json)
        else:
            as_json = session.as_json and not is_one
            print_refused(reason, as_json=as_json, id=row["id"], queue=row["queue"])


async def _find_one(
    tx: AsyncConnection, typed: str, selection: Selection, *, lock: bool = False
) -> RowMapping:
    """Find the dead letter whose id begins with what was typed. Raises ``ReplayError``."""
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
    for name, asked in (("queue", selection.queue), ("fingerprint", selection.fingerprint)):
        if asked is not None and row[name] != asked:
            raise ReplayError(f"{row['id']} has the {name} {row[name]}, not {asked}")
    return row


def parse_fields(texts: Sequence[str]) -> dict[str, Any]:
    """Parse changes such as ``data.clicks=3``; a value that is not JSON is text.

    Raises ``ReplayError`` for a text without ``=``.
    """
    found: dict[str, Any] = {}
    for path, value in _split(texts):
        try:
            found[path] = orjson.loads(value)
        except orjson.JSONDecodeError:
            found[path] = value
    return found


def parse_pairs(texts: Sequence[str]) -> dict[str, str | None]:
    """Parse texts such as ``content_type=application/json``; an empty value removes.

    Raises ``ReplayError`` for a text without ``=``.
    """
    return {name: value or None for name, value in _split(texts)}


def _split(texts: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise ReplayError(f"{name[:100]!r} names no value")
        pairs.append((name, value))
    return pairs


def read_body_from(source: str, max_bytes: int) -> bytes:
    """Read a body from a file, or ``-`` for standard input; at most one byte more than allowed.

    Raises ``ReplayError`` for a file that cannot be read.
    """
    try:
        if source == "-":
            return sys.stdin.buffer.read(max_bytes + 1)
        with Path(source).open("rb") as file:
            return file.read(max_bytes + 1)
    except OSError as error:
        raise ReplayError(f"{source} cannot be read: {error.strerror}") from error


async def run(
    command: Callable[[CommandSession], Awaitable[bool]], *, as_json: bool, wake_relay: bool = False
) -> int:
    """Run a command on the database of the settings; returns the exit status.

    ``wake_relay`` tells the relay that there may be new outbox rows.
    """
    replace_unencodable()
    settings = load_settings()
    engine, redis = open_engine(settings), open_redis(settings)
    try:
        done = await command(CommandSession(engine, settings, as_json))
    except (ReplayError, InvalidChange) as refusal:
        print_refused(str(refusal))
        return 1
    except BrokenPipeError:
        discard_output()
        return 0
    except (SQLAlchemyError, OSError) as error:
        print_error(f"the database does not answer: {type(error).__name__}")
        return 1
    finally:
        if wake_relay:
            await outbox.notify(redis)
        await engine.dispose()
        await redis.aclose()
    return 0 if done else 1
