"""Starts a server in the background, finds it again and stops it by its process id.

The id is kept with the moment its process began, so that a recycled id is never signalled.
The shell in between lets the server outlive the program that started it.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from infra.deploy.services.directories import ServerDirectory, SystemUser
from infra.process_start import process_start_time

POLL_INTERVAL = 0.05  # seconds
LARGE_LOG_BYTES = 20 * 1024 * 1024
LAUNCH_SCRIPT = '"$@" >&2 </dev/null & echo $!'


class NotStarted(Exception):
    """A server did not come up; the message says which and shows the end of its log."""


def tail(log: Path, lines: int = 15) -> str:
    """Show the end of a log, for the person who has to read why something failed."""
    if not log.is_file():
        return f"{log} does not exist"
    return f"the end of {log}:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def open_log(log: Path) -> BinaryIO:
    """Open a log to append to; a large one of earlier starts becomes ``.log.1``."""
    if log.is_file() and log.stat().st_size > LARGE_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    return log.open("ab")


def rotate_log(log: Path, most: int = LARGE_LOG_BYTES) -> bool:
    """Move a log of more than ``most`` bytes to ``.log.1``; returns whether it was moved.

    The log is copied and emptied, because its process goes on writing to the open file; it
    appends, so its next line is the first one. Lines that come between copying the last
    bytes and emptying the file are lost: some microseconds' worth.
    """
    if not log.is_file() or log.stat().st_size <= most:
        return False
    with log.open("r+b") as source, log.with_suffix(".log.1").open("wb") as kept:
        shutil.copyfileobj(source, kept)
        source.truncate(0)
    return True


@dataclass(frozen=True, slots=True)
class Daemon:
    """One background process of a directory."""

    directory: ServerDirectory
    name: str

    @property
    def log(self) -> Path:
        """Its log."""
        return self.directory.logs / f"{self.name}.log"

    @property
    def _pid_file(self) -> Path:
        return self.directory.state / "run" / f"{self.name}.pid"

    def pid(self) -> int | None:
        """Find the process id while the process lives."""
        try:
            number, moment = self._pid_file.read_text().split()
        except (OSError, ValueError):
            return None
        return int(number) if process_start_time(int(number)) == moment else None

    def start(
        self,
        argv: Sequence[str],
        system_user: SystemUser,
        folder: Path,
        env: Mapping[str, str] = {},
    ) -> None:
        """Start ``argv`` in ``folder`` with a small environment, its output in the log."""
        with open_log(self.log) as log:
            started = subprocess.run(
                ["/bin/sh", "-c", LAUNCH_SCRIPT, "sh", *argv],
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env=minimal_environment(folder) | dict(env),
                start_new_session=True,
                check=True,
                timeout=30,
                umask=0o077,
                **system_user.popen,
            )
        self._write_pid(int(started.stdout))

    def register(self) -> None:
        """Register the current process, which stays in the foreground, as this one."""
        self._write_pid(os.getpid())

    def unregister(self) -> None:
        """Undo ``register``."""
        self._pid_file.unlink(missing_ok=True)

    def _write_pid(self, pid: int) -> None:
        self._pid_file.write_text(f"{pid} {process_start_time(pid) or 'ended'}\n")

    def started_at(self) -> datetime | None:
        """When it was started, in UTC."""
        if self.pid() is None:
            return None
        return datetime.fromtimestamp(self._pid_file.stat().st_mtime, UTC)

    def wait_until(self, ready: Callable[[], bool], deadline: float = 90) -> None:
        """Poll until ``ready()``; raises ``NotStarted`` when the process ends or time is up."""
        end = time.monotonic() + deadline
        while not ready():
            if self.pid() is None:
                raise NotStarted(f"{self.name} ended while it started; {tail(self.log)}")
            if time.monotonic() > end:
                raise NotStarted(f"{self.name} is not ready in {deadline:.0f} s; {tail(self.log)}")
            time.sleep(POLL_INTERVAL)

    @staticmethod
    def _signal(pid: int, number: signal.Signals) -> None:
        """Signal the process; what is killed takes its children along, which it cannot end.

        They are its group, which is ours alone when its leader was the shell that started it.
        """
        with contextlib.suppress(ProcessLookupError):
            group = os.getpgid(pid)
            if number == signal.SIGKILL and process_start_time(group) is None:
                os.killpg(group, number)
            else:
                os.kill(pid, number)

    def stop(self, how: signal.Signals = signal.SIGTERM, deadline: float = 30) -> None:
        """End the process and wait for it; after ``deadline`` seconds it is killed."""
        pid = self.pid()
        for number, patience in ((how, deadline), (signal.SIGKILL, 5)):
            if pid is None or self.pid() != pid:
                break
            self._signal(pid, number)
            end = time.monotonic() + patience
            while self.pid() == pid and time.monotonic() < end:
                time.sleep(POLL_INTERVAL)
        self._pid_file.unlink(missing_ok=True)


def minimal_environment(home: Path) -> dict[str, str]:
    """Build the minimal environment of a server, without the variables of this process."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
