"""Finds servers of a directory without a pid file by their data folder, and ends them.

A start that was killed between launching a server and noting its process id leaves one behind,
as two starts at once did. A server runs in its data folder, and has it as its home; what is
neither named like a server nor started with that home (a person's shell) is left alone.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from infra.deploy.services.daemon import POLL_INTERVAL
from infra.deploy.services.directories import SYSTEM_DATA, ServerDirectory
from infra.process_start import process_start_time

PROGRAMS = ("beam.smp", "epmd", "postgres", "prometheus", "redis-server")
PROC = Path("/proc")
PATIENCE = 20.0  # seconds
MOMENT = 2.0

Report = Callable[[str], None]


def find_orphans(directory: ServerDirectory, known: set[int]) -> dict[int, str]:
    """Find processes in the data folders of a directory, except ``known`` and their children."""
    folders = [str(directory.data.resolve())]
    folders += [str(folder) for folder in SYSTEM_DATA.glob(f"adrelay-{directory.tag}-*")]
    found: dict[int, str] = {}
    for pid in _processes():
        with contextlib.suppress(OSError):
            where = str((PROC / str(pid) / "cwd").readlink()).removesuffix(" (deleted)")
            inside = [folder for folder in folders if where.startswith(f"{folder}/")]
            if inside and _is_server(pid, inside[0]) and not known & set(_line(pid)):
                found[pid] = (PROC / str(pid) / "comm").read_text().strip()
    return found


def end_orphans(directory: ServerDirectory, known: set[int], report: Report) -> None:
    """End them, asking first; what does not go is killed.

    The children of a server that has just ended go by themselves in a moment.
    """
    _wait_until(lambda: not find_orphans(directory, known), MOMENT)
    for number in (signal.SIGTERM, signal.SIGKILL):
        found = find_orphans(directory, known)
        for pid, name in found.items():
            if number == signal.SIGTERM:
                report(f"ending {name} (process {pid}), left behind by an earlier start")
            # Postgres waits for its clients on SIGTERM.
            gentle = signal.SIGINT if name == "postgres" else signal.SIGTERM
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, gentle if number == signal.SIGTERM else number)
        left = tuple(found)
        _wait_until(partial(_are_gone, left), PATIENCE)


def _are_gone(pids: tuple[int, ...]) -> bool:
    return not any(map(process_start_time, pids))


def _wait_until(done: Callable[[], bool], patience: float) -> None:
    end = time.monotonic() + patience
    while not done() and time.monotonic() < end:
        time.sleep(POLL_INTERVAL)


def _processes() -> Iterator[int]:
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def _is_server(pid: int, folder: str) -> bool:
    if (PROC / str(pid) / "comm").read_text().strip() in PROGRAMS:
        return True
    variables = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    return any(word.startswith(f"HOME={folder}/".encode()) for word in variables)


def _line(pid: int) -> Iterator[int]:
    """List a process and its ancestors."""
    while pid > 1:
        yield pid
        try:
            stat = (PROC / str(pid) / "stat").read_text()
        except OSError:
            return
        pid = int(stat.rpartition(")")[2].split()[1])
