"""Keeps the state of each process: the supervisor writes it, ``make status`` prints it.

The file outlives a supervisor that was killed, so that the processes it left behind are
found and ended before the next start.
"""

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from infra.deploy.services.daemon import POLL_INTERVAL
from infra.deploy.services.directories import ServerDirectory, write_private
from infra.process_start import process_start_time

SURVIVOR_DEADLINE = 35.0  # seconds; a worker's own deadline is 25


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process as the supervisor last saw it. ``since`` is ISO 8601, UTC."""

    name: str
    port: int
    state: str = "waiting"
    pid: int | None = None
    start_time: str | None = None
    since: str = ""
    restarts: int = -1
    last_exit: str = ""

    def mark_started(self, pid: int) -> "ProcessStatus":
        """Record that the process runs; every start but the first is a restart."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return replace(
            self,
            state="running",
            pid=pid,
            start_time=process_start_time(pid),
            since=now,
            restarts=self.restarts + 1,
        )

    def mark_stopped(self, code: int, state: str) -> "ProcessStatus":
        """Record that the process has ended, and how."""
        words = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
        return replace(self, state=state, pid=None, start_time=None, last_exit=words)

    @property
    def is_alive(self) -> bool:
        """Check whether it still runs, under this supervisor or another."""
        return self.pid is not None and process_start_time(self.pid) == self.start_time


def write_status(directory: ServerDirectory, statuses: Mapping[str, ProcessStatus]) -> None:
    """Write the file in one step."""
    text = json.dumps([asdict(status) for status in statuses.values()], indent=1)
    write_private(directory.state / "status.json", text + "\n")


def read_status(directory: ServerDirectory) -> dict[str, ProcessStatus]:
    """Read what the last supervisor wrote; empty when there was none."""
    try:
        entries = json.loads((directory.state / "status.json").read_text())
    except (OSError, ValueError):
        return {}
    return {entry["name"]: ProcessStatus(**entry) for entry in entries}


def delete_status(directory: ServerDirectory) -> None:
    """Forget what the last supervisor wrote, before a new one starts."""
    (directory.state / "status.json").unlink(missing_ok=True)


def stop_survivors(directory: ServerDirectory) -> Sequence[str]:
    """End the processes that a killed supervisor has left behind; returns their names."""
    survivors = [status for status in read_status(directory).values() if status.is_alive]
    for number, patience in ((signal.SIGTERM, SURVIVOR_DEADLINE), (signal.SIGKILL, 5)):
        end = time.monotonic() + patience
        for status in survivors:
            if status.is_alive and status.pid is not None:
                os.kill(status.pid, number)
        while any(status.is_alive for status in survivors) and time.monotonic() < end:
            time.sleep(POLL_INTERVAL)
    return [status.name for status in survivors]
