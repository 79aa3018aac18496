"""Where the sandbox keeps its campaigns over a restart, if it is told where."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

import orjson

from infra.sandbox.state import Book

log = logging.getLogger(__name__)

SAVE_SECONDS = 5.0


def load(path: Path, books: Mapping[str, Book]) -> None:
    """Fill the books from a file; one that is missing or broken is said and left alone."""
    if not path.is_file():
        return
    try:
        dumped = orjson.loads(path.read_bytes())
        for name, book in books.items():
            book.load(dumped[name])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}; the sandbox begins empty"
        log.warning("The sandbox's state is not readable", extra={"reason": reason})


def save(path: Path, books: Mapping[str, Book]) -> None:
    """Write the books to a file, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(orjson.dumps({name: book.dump() for name, book in books.items()}))
    fresh.replace(path)


async def keep(path: Path, books: Mapping[str, Book]) -> None:
    """Save now and then, for ever."""
    while True:
        await asyncio.sleep(SAVE_SECONDS)
        save(path, books)
