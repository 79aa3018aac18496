"""Keeps processes running: what ends is started again, what fails at once waits longer.

Each process leads a session of its own, so that a Ctrl-C on the terminal reaches the
supervisor alone, which then asks every process to finish (SIGTERM) and waits. A second
signal is passed on: the workers then exit at once.
"""

import asyncio
import contextlib
import signal
import time
from asyncio.subprocess import DEVNULL
from asyncio.subprocess import Process as Child
from collections.abc import Mapping, Sequence

from infra.deploy.env_files import process_environment
from infra.deploy.process_status import ProcessStatus, write_status
from infra.deploy.procfile import Process
from infra.deploy.services.daemon import LARGE_LOG_BYTES, open_log, rotate_log
from infra.deploy.services.directories import CHECKOUT, ServerDirectory

FIRST_RESTART_DELAY = 0.5  # seconds
MAX_RESTART_DELAY = 30.0
HEALTHY_AFTER = 60.0
LOG_CHECK_INTERVAL = 2.0  # seconds between two looks at the sizes of the logs
# Longer than a worker's own deadline (25 s) and its closing (5 s).
STOP_TIMEOUT = 35.0


def restart_delay(last_pause: float, lived: float) -> float:
    """Say how many seconds to wait before the next start of a process that lived ``lived``."""
    if lived >= HEALTHY_AFTER or not last_pause:
        return FIRST_RESTART_DELAY
    return min(last_pause * 2, MAX_RESTART_DELAY)


class Supervisor:
    """Runs a list of processes until it is stopped."""

    def __init__(
        self,
        directory: ServerDirectory,
        processes: Sequence[Process],
        environment: Mapping[str, str],
        *,
        most_log_bytes: int = LARGE_LOG_BYTES,
    ) -> None:
        """Keep what to run; the files of the directory override ``environment``.

        A log of more than ``most_log_bytes`` is rotated: its lines move to ``.log.1``.
        """
        self._most_log_bytes = most_log_bytes
        self._directory = directory
        self._processes = processes
        self._environment = environment
        self._stop = asyncio.Event()
        self._children: dict[str, Child] = {}
        self._statuses = {
            process.name: ProcessStatus(process.name, process.port) for process in processes
        }

    def stop(self) -> None:
        """Ask every process to end; a second call asks again, which they obey at once."""
        again = self._stop.is_set()
        self._stop.set()
        if again:
            self._signal_all(signal.SIGTERM)

    def install_signal_handlers(self) -> None:
        """Stop on SIGTERM, SIGINT and SIGHUP; call it on the running loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup
                loop.add_signal_handler(number, self.stop)

    async def run(self) -> None:
        """Keep everything running until ``stop``; returns when all processes have ended."""
        async with asyncio.TaskGroup() as group:
            for process in self._processes:
                group.create_task(self._keep(process), name=process.name)
            group.create_task(self._keep_logs_small(), name="logs")

    async def _keep(self, process: Process) -> None:
        pause = 0.0
        while not self._stop.is_set():
            start = time.monotonic()
            child = await self._start(process)
            code = await self._wait(child)
            del self._children[process.name]
            state = "stopped" if self._stop.is_set() else "waiting"
            self._set(self._statuses[process.name].mark_stopped(code, state))
            pause = restart_delay(pause, time.monotonic() - start)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)

    async def _keep_logs_small(self) -> None:
        """Rotate the logs of the processes, and of the servers beside them, when they are large."""
        while not self._stop.is_set():
            for log in self._directory.logs.glob("*.log"):
                with contextlib.suppress(OSError):  # a full disk: the next round tries again
                    await asyncio.to_thread(rotate_log, log, self._most_log_bytes)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), LOG_CHECK_INTERVAL)

    async def _start(self, process: Process) -> Child:
        with open_log(self._directory.logs / f"{process.name}.log") as output:
            child = await asyncio.create_subprocess_exec(
                *process.argv,
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
                cwd=CHECKOUT,
                env=process_environment(self._directory, process, self._environment),
                start_new_session=True,
            )
        self._children[process.name] = child
        self._set(self._statuses[process.name].mark_started(child.pid))
        return child

    async def _wait(self, child: Child) -> int:
        """Wait until the child ends; once we stop it is asked to, and killed after the grace."""
        ended = asyncio.ensure_future(child.wait())
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        # A child may have ended although its end was not noticed yet.
        with contextlib.suppress(ProcessLookupError):
            if not ended.done():
                child.terminate()
                await asyncio.wait({ended}, timeout=STOP_TIMEOUT)
            if not ended.done():
                child.kill()
        return await ended

    def _signal_all(self, number: signal.Signals) -> None:
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(number)

    def _set(self, status: ProcessStatus) -> None:
        self._statuses[status.name] = status
        write_status(self._directory, self._statuses)
