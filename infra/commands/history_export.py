"""Exports the event log into a file, as JSON lines, and goes on with a file that is there."""

import os
import sys
from contextlib import aclosing
from pathlib import Path
from typing import IO

from infra.commands.history import HistoryRefused, HistorySession
from infra.commands.output import print_error
from infra.messaging.log_content import write_line
from infra.messaging.log_filter import LogFilter
from infra.messaging.log_range import LogRange, find_range, read_range
from schemas.escaping import escape_json

NEWLINE = b"\n"
BLOCK = 64 * 1024  # bytes


async def export(
    session: HistorySession,
    selected: LogFilter,
    target: str,
    *,
    from_offset: int | None,
    limit: int | None,
) -> bool:
    """Write matching entries as JSON lines to a file, or to standard output for ``-``.

    Raises ``HistoryRefused`` for a file that exists, unless it goes on with it.
    """
    wanted = await find_range(
        session.link,
        session.timeout,
        since=selected.since,
        until=selected.until,
        from_offset=from_offset,
    )
    file = (
        sys.stdout.buffer if target == "-" else _open(Path(target), goes_on=from_offset is not None)
    )
    try:
        await _write(session, selected, wanted, file, limit)
    finally:
        if target != "-":
            file.close()
    return True


async def _write(
    session: HistorySession,
    selected: LogFilter,
    wanted: LogRange | None,
    file: IO[bytes],
    limit: int | None,
) -> None:
    written, next_offset = 0, None
    if wanted is not None:
        async with aclosing(read_range(session.link, wanted, session.timeout)) as batches:
            async for entries in batches:
                for entry in entries:
                    if written == limit:
                        break
                    if selected.matches(entry):
                        file.write(escape_json(write_line(entry)) + NEWLINE)
                        written += 1
                    next_offset = entry.offset + 1
                file.flush()
                if written == limit:
                    break
    where = "" if next_offset is None else f"; go on with --from-offset {next_offset}"
    print_error(f"{written} events written{where}")


def _open(path: Path, *, goes_on: bool) -> IO[bytes]:
    """Open a file to write; one that exists is only continued, after its last whole line."""
    try:
        if not goes_on:
            return path.open("xb")
        file = path.open("ab+")
        file.truncate(_find_end_of_lines(file))
    except FileExistsError:
        raise HistoryRefused(
            f"{path} exists: name another file, or --from-offset to go on with it"
        ) from None
    except OSError as error:
        raise HistoryRefused(f"{path} cannot be written: {error.strerror}") from error
    return file


def _find_end_of_lines(file: IO[bytes]) -> int:
    """Find where the last line ends: what comes behind was cut off when a writer was killed."""
    at = file.seek(0, os.SEEK_END)
    while at > 0:
        begin = max(0, at - BLOCK)
        file.seek(begin)
        found = file.read(at - begin).rfind(NEWLINE)
        if found >= 0:
            return begin + found + 1
        at = begin
    return 0
