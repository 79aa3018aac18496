"""Stores the sandbox's campaigns in a file over a restart, if one is configured."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

import orjson

from infra.sandbox.state import PlatformState

log = logging.getLogger(__name__)

SAVE_INTERVAL_SECONDS = 5.0


def load(path: Path, states: Mapping[str, PlatformState]) -> None:
    """Load the states from a file; an unreadable file is logged and ignored."""
    if not path.is_file():
        return
    try:
        dumped = orjson.loads(path.read_bytes())
        for name, state in states.items():
            state.load(dumped[name])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}; the sandbox starts empty"
        log.warning("the sandbox's state cannot be read", extra={"reason": reason})


def save(path: Path, states: Mapping[str, PlatformState]) -> None:
    """Write the states to a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(orjson.dumps({name: state.dump() for name, state in states.items()}))
    fresh.replace(path)


async def save_periodically(path: Path, states: Mapping[str, PlatformState]) -> None:
    """Save every few seconds, for ever."""
    while True:
        await asyncio.sleep(SAVE_INTERVAL_SECONDS)
        save(path, states)
