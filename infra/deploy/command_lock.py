"""Lets one command at a time change what runs: up, run while it starts, down, reset."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TextIO

from infra.deploy.services.daemon import NotStarted
from infra.deploy.services.directories import ServerDirectory

LOCK_TIMEOUT = 300.0  # seconds; a first start installs servers
POLL_INTERVAL = 0.2  # seconds
LOCK_FILE = "command.lock"


@contextmanager
def command_lock(
    directory: ServerDirectory,
    command: str,
    report: Callable[[str], None],
    wait_seconds: float = LOCK_TIMEOUT,
) -> Iterator[None]:
    """Hold the lock of a directory; waits for the command that holds it, and names it.

    Raises ``NotStarted`` when it is not to be had within ``wait_seconds`` seconds. The kernel gives
    the lock of a process that was killed back.
    """
    end, told = time.monotonic() + wait_seconds, False
    while True:
        file = _open(directory)
        if _try_lock(file) and _is_current(file, directory):
            break
        holder = _holder(file)
        file.close()
        if time.monotonic() > end:
            raise NotStarted(f"{holder} does not come to an end; end it, then try again")
        if not told:
            report(f"waiting for {holder}")
            told = True
        time.sleep(POLL_INTERVAL)
    with file:
        file.truncate(0)
        since = datetime.now(UTC).strftime("%H:%M:%S")
        file.write(f"'make {command}' (process {os.getpid()}, since {since} UTC)")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _open(directory: ServerDirectory) -> TextIO:
    directory.prepare()
    return (directory.state / "run" / LOCK_FILE).open("a+")


def _is_current(file: TextIO, directory: ServerDirectory) -> bool:
    """Check whether it is still the file of that name: ``reset`` deletes it."""
    try:
        return os.path.samestat(
            os.fstat(file.fileno()), (directory.state / "run" / LOCK_FILE).stat()
        )
    except FileNotFoundError:
        return False


def _try_lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: TextIO) -> str:
    file.seek(0)
    return file.read() or "another command of this checkout"
