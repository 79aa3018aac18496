"""The supervisor, with real processes."""

import asyncio
import os
import shlex
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from infra.deploy.process_status import read_status, stop_survivors
from infra.deploy.procfile import Process
from infra.deploy.services.directories import CHECKOUT, ServerDirectory
from infra.deploy.supervisor import Supervisor, restart_delay

PATIENCE = 15.0  # seconds
FOREVER = "import time\nwhile True: time.sleep(1)"


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[ServerDirectory]:
    directory = ServerDirectory(tmp_path / "state")
    directory.prepare()
    yield directory
    directory.remove()


def python(code: str, name: str = "one") -> Process:
    return Process(name, f"python -c {shlex.quote(code)}", port=1)


@asynccontextmanager
async def supervised(directory: ServerDirectory, *processes: Process) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(directory, processes, os.environ)
    running = asyncio.create_task(supervisor.run())
    try:
        yield supervisor
    finally:
        supervisor.stop()
        await asyncio.wait_for(running, PATIENCE)


async def until(condition: Callable[[], bool]) -> float:
    """Poll a condition; tells how long it took, in seconds."""
    start = time.monotonic()
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)
    return time.monotonic() - start


@pytest.mark.parametrize(
    ("last_pause", "lived", "pause"),
    [
        (0, 0, 0.5),
        (0.5, 0, 1),
        (1, 0.2, 2),
        (16, 1, 30),
        (30, 59, 30),
        (30, 61, 0.5),
    ],
)
def test_a_process_that_ends_at_once_waits_longer_each_time(
    last_pause: float, lived: float, pause: float
) -> None:
    assert restart_delay(last_pause, lived) == pause


async def test_a_killed_process_is_started_again_within_two_seconds(
    directory: ServerDirectory,
) -> None:
    async with supervised(directory, python(FOREVER)):
        await until(
            lambda: "one" in read_status(directory) and read_status(directory)["one"].is_alive
        )
        first = read_status(directory)["one"].pid
        assert first is not None
        os.kill(first, signal.SIGKILL)

        took = await until(lambda: read_status(directory)["one"].pid not in (None, first))

        status = read_status(directory)["one"]
        assert took < 2
        assert status.restarts == 1
        assert status.last_exit == "signal SIGKILL"


async def test_one_process_that_ends_does_not_touch_the_others(directory: ServerDirectory) -> None:
    failing = python("raise SystemExit(3)", "failing")
    async with supervised(directory, failing, python(FOREVER, "healthy")):
        await until(
            lambda: len(read_status(directory)) == 2 and read_status(directory)["healthy"].is_alive
        )
        healthy = read_status(directory)["healthy"]

        took = await until(lambda: read_status(directory)["failing"].restarts == 2)

        assert took >= 1  # pauses of 0.5 and 1 second, less what had passed
        assert read_status(directory)["failing"].last_exit == "exit 3"
        assert read_status(directory)["healthy"] == healthy


async def test_a_stop_lets_a_process_finish_what_it_has_in_hand(
    directory: ServerDirectory, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    ready = tmp_path / "ready"
    code = (
        "import pathlib, signal, sys, time\n"
        "def finish(*_):\n"
        f"    time.sleep(0.3); pathlib.Path({str(done)!r}).touch(); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, finish)\n"
        f"pathlib.Path({str(ready)!r}).touch()\n" + FOREVER
    )
    async with supervised(directory, python(code)):
        await until(ready.exists)

    assert done.exists()
    assert read_status(directory)["one"].state == "stopped"
    assert read_status(directory)["one"].last_exit == "exit 0"


async def test_a_process_is_out_of_reach_of_the_terminal(directory: ServerDirectory) -> None:
    async with supervised(directory, python(FOREVER)):
        await until(
            lambda: "one" in read_status(directory) and read_status(directory)["one"].is_alive
        )
        pid = read_status(directory)["one"].pid
        assert pid is not None
        assert os.getsid(pid) == pid


async def test_a_process_is_told_its_port_and_writes_to_its_log(directory: ServerDirectory) -> None:
    async with supervised(directory, python("import os; print('port', os.environ['PORT'])")):
        log = directory.logs / "one.log"
        await until(lambda: log.is_file() and "port 1" in log.read_text())


async def test_what_a_killed_supervisor_left_behind_is_found_and_ended(
    directory: ServerDirectory,
) -> None:
    code = (
        "import asyncio, os, pathlib\n"
        "from infra.deploy.procfile import Process\n"
        "from infra.deploy.services.directories import ServerDirectory\n"
        "from infra.deploy.supervisor import Supervisor\n"
        f"place = ServerDirectory(pathlib.Path({str(directory.state)!r}))\n"
        f"orphan = Process('orphan', {python(FOREVER).command!r}, 1)\n"
        "asyncio.run(Supervisor(place, [orphan], os.environ).run())\n"
    )
    supervisor = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=CHECKOUT)
    await until(
        lambda: "orphan" in read_status(directory) and read_status(directory)["orphan"].is_alive
    )
    supervisor.kill()
    await supervisor.wait()
    assert read_status(directory)["orphan"].is_alive

    assert stop_survivors(directory) == ["orphan"]

    assert not read_status(directory)["orphan"].is_alive
    assert stop_survivors(directory) == []


async def test_the_log_of_a_process_that_writes_much_is_rotated_while_it_runs(
    directory: ServerDirectory,
) -> None:
    code = "import time\nwhile True: print('line ' * 10_000, flush=True); time.sleep(0.01)"
    talkative = python(code)
    supervisor = Supervisor(directory, [talkative], os.environ, most_log_bytes=100_000)
    running = asyncio.create_task(supervisor.run())
    log = directory.logs / "one.log"
    old = log.with_suffix(".log.1")
    try:
        await until(lambda: old.is_file() and log.stat().st_size < old.stat().st_size)
    finally:
        supervisor.stop()
        await asyncio.wait_for(running, PATIENCE)
    assert b"line" in old.read_bytes()[:20]
    assert not log.read_bytes().startswith(b"\0")
