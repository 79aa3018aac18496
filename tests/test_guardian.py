"""A session that is ended, in order or not, leaves no process behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.deploy.services.directories import CHECKOUT
from infra.process_start import process_start_time

SESSION = """
import signal, subprocess, sys, time
from pathlib import Path
from infra.deploy.services.daemon import Daemon
from infra.deploy.services.directories import ServerDirectory
from infra.deploy.services.local_servers import start_local_servers, stop_local_servers
from tests.guardian import end_in_order, guard

# A shell without job control starts its background jobs with these ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# As in a terminal; what runs in the background ignores these.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
end_in_order()
guard(Path(sys.argv[1]))
directory = ServerDirectory(Path(sys.argv[1]) / "state", durable=False)
child = subprocess.Popen(["/bin/sleep", "300"], start_new_session=True)
try:
    start_local_servers(directory, ["REDIS_URL"])
    print(child.pid, Daemon(directory, "redis").pid(), flush=True)
    time.sleep(300)
finally:
    stop_local_servers(directory)
    child.kill()
    directory.remove()
"""


def gone(pids: list[int]) -> bool:
    return not any(process_start_time(pid) for pid in pids)


def until(condition: Callable[[], bool], seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_a_session_that_is_ended_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", SESSION, str(tmp_path)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as session:
        assert session.stdout is not None
        pids = [int(word) for word in session.stdout.readline().split()]
        assert len(pids) == 2
        session.send_signal(number)
    until(lambda: gone(pids))


def test_a_session_whose_make_was_killed_ends(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(
        'all:\n\t@cd "$(CHECKOUT)" && exec "$(PYTHON)" -c "$$SESSION" "$(FOLDER)"\n'
    )
    words = [f"CHECKOUT={CHECKOUT}", f"PYTHON={sys.executable}", f"FOLDER={tmp_path}"]
    with subprocess.Popen(  # noqa: S603 - fixed words
        ["/usr/bin/make", "-C", str(tmp_path), *words],
        env={**os.environ, "SESSION": SESSION},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as make:
        assert make.stdout is not None
        line = make.stdout.readline()
        while not line[0].isdigit():
            line = make.stdout.readline()
        make.kill()
        pids = [int(word) for word in line.split()]
        until(lambda: gone(pids))
