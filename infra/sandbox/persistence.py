"""Where the sandbox keeps its campaigns over a restart, if it is told where."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

import orjson

from infra.sandbox.state import PlatformState

log = logging.getLogger(__name__)

SAVE_INTERVAL_SECONDS = 5.0


def load(path: Path, states: Mapping[str, PlatformState]) -> None:
    """Fill the books from a file; one that is missing or broken is said and left alone."""
    if not path.is_file():
        return
    try:
        dumped = orjson.loads(path.read_bytes())
        for name, state in states.items():
            state.load(dumped[name])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}; the sandbox begins empty"
        log.warning("The sandbox's state is not readable", extra={"reason": reason})


def save(path: Path, states: Mapping[str, PlatformState]) -> None:
    """Write the books to a file, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(orjson.dumps({name: state.dump() for name, state in states.items()}))
    fresh.replace(path)


async def save_periodically(path: Path, states: Mapping[str, PlatformState]) -> None:
    """Save now and then, for ever."""
    while True:
        await asyncio.sleep(SAVE_INTERVAL_SECONDS)
        save(path, states)
