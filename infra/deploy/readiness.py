"""Waits until every process answers 200 on ``/readyz``, or says why one does not."""

import asyncio
import time
from collections.abc import Sequence

import aiohttp

from infra.deploy.process_status import read_status
from infra.deploy.procfile import Process
from infra.deploy.services.daemon import tail
from infra.deploy.services.directories import ServerDirectory

READY_TIMEOUT = 90.0  # seconds
POLL_INTERVAL = 0.25  # seconds
ANSWER_TIMEOUT = 3.0  # seconds
MAX_RESTARTS = 3  # restarts of a process that has just been started


class NotReady(Exception):
    """A process does not come up; the message says which, what it answers, and its log."""


async def check_ready(session: aiohttp.ClientSession, process: Process) -> str:
    """Ask a process whether it is ready: empty if it is, else what it answers."""
    try:
        async with session.get(f"{process.url}/readyz") as answer:
            return "" if answer.status == 200 else (await answer.text())[:500]  # noqa: PLR2004 - HTTP OK
    except (aiohttp.ClientError, TimeoutError) as error:
        return f"no answer on {process.url} ({type(error).__name__})"


async def check_all_ready(processes: Sequence[Process]) -> dict[str, str]:
    """Ask every process at once; by name, empty for those that are ready."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        answers = await asyncio.gather(*(check_ready(session, process) for process in processes))
    return {process.name: answer for process, answer in zip(processes, answers, strict=True)}


async def wait_until_ready(
    directory: ServerDirectory, processes: Sequence[Process], deadline: float = READY_TIMEOUT
) -> None:
    """Return when every process is ready.

    Raises ``NotReady`` after ``deadline`` seconds, or sooner when one only keeps ending.
    """
    end = time.monotonic() + deadline
    while True:
        missing = {name: text for name, text in (await check_all_ready(processes)).items() if text}
        if not missing:
            return
        restarts = {name: status.restarts for name, status in read_status(directory).items()}
        hopeless = [name for name in missing if restarts.get(name, 0) >= MAX_RESTARTS]
        if hopeless or time.monotonic() > end:
            name = (hopeless or list(missing))[0]
            log = tail(directory.logs / f"{name}.log")
            raise NotReady(f"{name} is not ready: {missing[name].strip()}\n{log}")
        await asyncio.sleep(POLL_INTERVAL)
