"""Keeps several web processes running on one listening socket, which stays open throughout.

    SIGTERM, SIGINT   all finish their requests and end; a second one ends them at once
    SIGHUP            one after the other ends and is started again, with new code and settings

A process that ends by itself is started again, later each time it keeps ending. What connects
while no process accepts waits in the socket's queue.
"""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process

from infra.backoff import Backoff

GOOD_CODES = (0, -signal.SIGTERM)  # the latter of one that was still starting
MODULE = "workers.ingress.child"
FIRST_DELAY, MAX_DELAY = 0.5, 30.0  # seconds until an ended process is started again
HEALTHY_AFTER = 60.0  # seconds after which an end is the first one again
READY_TIMEOUT = 60.0  # seconds that a process may take to serve, before the next one is restarted

log = logging.getLogger(__name__)


async def supervise(listener: socket.socket, count: int) -> int:
    """Run ``count`` web processes until a signal; returns the exit status."""
    return await WebSupervisor(listener, count).run()


class WebSupervisor:
    """Runs ``count`` web processes until a signal."""

    def __init__(self, listener: socket.socket, count: int) -> None:
        """Take a socket that listens; nothing runs yet."""
        self._listener = listener
        self._slots = [Slot(listener, number, count) for number in range(count)]
        self._stop = asyncio.Event()
        self._restart = asyncio.Event()

    async def run(self) -> int:
        """Keep all running until SIGTERM; returns 0, or 1 if one has not ended well then."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, self._restart.set)
        restarting = asyncio.create_task(self._restart_on_request())
        codes = await asyncio.gather(*(slot.keep(self._stop) for slot in self._slots))
        restarting.cancel()
        self._listener.close()
        return int(any(code not in GOOD_CODES for code in codes))

    def _on_stop(self) -> None:
        self._stop.set()
        for slot in self._slots:
            slot.terminate()

    async def _restart_on_request(self) -> None:
        while True:
            await self._restart.wait()
            self._restart.clear()
            log.info("restarting the web processes", extra={"count": len(self._slots)})
            for slot in self._slots:
                if not self._stop.is_set():
                    await slot.restart()


class Slot:
    """The place of one process: it is started again whenever it has ended."""

    def __init__(self, listener: socket.socket, number: int, count: int) -> None:
        """Prepare the process ``number`` of ``count``."""
        self._listener = listener
        self._number = number
        self._count = count
        self._process: Process | None = None
        self._ready = asyncio.Event()
        self._is_asked = False

    async def keep(self, stop: asyncio.Event) -> int:
        """Run the process again and again until ``stop``; returns its last exit status."""
        backoff = Backoff(first=FIRST_DELAY, longest=MAX_DELAY)
        code = 0
        while not stop.is_set():
            began = time.monotonic()
            code = await self._run(stop)
            if stop.is_set():
                break
            if self._is_asked:
                self._is_asked = False
                continue
            details = {"task": f"web {self._number}", "status": code}
            log.error("a web process has ended and is started again", extra=details)
            if time.monotonic() - began > HEALTHY_AFTER:
                backoff.reset()
            await backoff.sleep(stop)
        return code

    async def restart(self) -> None:
        """End the process, and wait until its successor serves."""
        self._is_asked = self._process is not None
        self._ready.clear()
        self.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_TIMEOUT):
                await self._ready.wait()

    def terminate(self) -> None:
        """Ask the process to end; a second time it does so at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    async def _run(self, stop: asyncio.Event) -> int:
        descriptor = self._listener.fileno()
        words = (str(descriptor), str(self._number), str(self._count))
        process = self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", MODULE, *words),
            stdin=PIPE,
            stdout=PIPE,
            pass_fds=(descriptor,),
            start_new_session=True,  # a Ctrl-C reaches the supervisor alone
        )
        if stop.is_set():
            self.terminate()
        if process.stdout is not None:
            while line := await process.stdout.readline():
                if line.strip() == b"ready":
                    self._ready.set()
        code = await process.wait()
        self._process = None
        self._ready.clear()
        return code
