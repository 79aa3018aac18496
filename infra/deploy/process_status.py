"""What runs: the supervisor writes it down, ``make status`` shows it.

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

from infra.deploy.services.daemon import POLL, began
from infra.deploy.services.directories import Place, write_private

SURVIVOR_DEADLINE = 35.0  # seconds; a worker's own deadline is 25


@dataclass(frozen=True, slots=True)
class Status:
    """One process as the supervisor last saw it. ``since`` is ISO 8601, UTC."""

    name: str
    port: int
    state: str = "waiting"
    pid: int | None = None
    began: str | None = None
    since: str = ""
    restarts: int = -1
    last_exit: str = ""

    def started(self, pid: int) -> "Status":
        """Tell that the process runs now; every start but the first is a restart."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return replace(
            self,
            state="running",
            pid=pid,
            began=began(pid),
            since=now,
            restarts=self.restarts + 1,
        )

    def ended(self, code: int, state: str) -> "Status":
        """Tell that the process has ended, and how."""
        words = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
        return replace(self, state=state, pid=None, began=None, last_exit=words)

    @property
    def is_alive(self) -> bool:
        """Tell whether it still runs, whoever watches over it."""
        return self.pid is not None and began(self.pid) == self.began


def write_status(place: Place, statuses: Mapping[str, Status]) -> None:
    """Write the file in one step."""
    text = json.dumps([asdict(status) for status in statuses.values()], indent=1)
    write_private(place.state / "status.json", text + "\n")


def read_status(place: Place) -> dict[str, Status]:
    """Read what the last supervisor wrote; empty when there was none."""
    try:
        entries = json.loads((place.state / "status.json").read_text())
    except (OSError, ValueError):
        return {}
    return {entry["name"]: Status(**entry) for entry in entries}


def forget(place: Place) -> None:
    """Forget what the last supervisor wrote, before a new one starts."""
    (place.state / "status.json").unlink(missing_ok=True)


def end_survivors(place: Place) -> Sequence[str]:
    """End the processes that a killed supervisor has left behind; returns their names."""
    survivors = [status for status in read_status(place).values() if status.is_alive]
    for number, patience in ((signal.SIGTERM, SURVIVOR_DEADLINE), (signal.SIGKILL, 5)):
        end = time.monotonic() + patience
        for status in survivors:
            if status.is_alive and status.pid is not None:
                os.kill(status.pid, number)
        while any(status.is_alive for status in survivors) and time.monotonic() < end:
            time.sleep(POLL)
    return [status.name for status in survivors]
