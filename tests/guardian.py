"""Ends what a test session leaves behind when it is killed: its servers, and all that it started.

A session that ends in order, also by SIGTERM or SIGHUP, cleans up by itself. This process
outlives it and looks after what is left, so that neither a ``kill -9`` nor a closed terminal
leaves servers running. A session that ``make`` has started ends when its ``make`` is gone.

    python -m tests.guardian <process id> <mark> <folder of temporary places> [<id of make>]
"""

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import time_ns

# Nothing of Adrelay is imported here: a guardian costs a session next to nothing.
CHECKOUT = Path(__file__).resolve().parents[1]
SERVICES = CHECKOUT / ".services"
MARK = "ADRELAY_TEST_SESSION"
PROC = Path("/proc")
ENDING_MS = 60_000  # in which a session ends in order


def guard(temporary: Path | None = None) -> None:
    """Start the guardian of this process; whatever starts from now on carries its mark.

    ``temporary`` is a folder in which the session makes servers of its own.
    """
    mark = f"{os.getpid()}.{time_ns()}"
    words = [str(os.getpid()), mark, str(temporary or "")]
    parent = os.getppid()
    if (PROC / str(parent) / "comm").read_text().strip() == "make":
        words.append(str(parent))
    guardian = subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "tests.guardian", *words],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    guardian.returncode = 0  # it outlives us: nobody waits for it
    os.environ[MARK] = mark


def end_in_order() -> None:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, signal.default_int_handler)


def watch(session: int, parent: int | None) -> None:
    """Return when the session has ended; end it when its ``make`` is gone."""
    with _opened(session) as ended, _opened(parent) as parent_ended:
        if ended is None:
            return
        either = [fd for fd in (ended, parent_ended) if fd is not None]
        if ended in _wait(either, None):
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(ended, number)
            if _wait([ended], ENDING_MS):
                return


@contextlib.contextmanager
def _opened(pid: int | None) -> Iterator[int | None]:
    try:
        descriptor = None if pid is None else os.pidfd_open(pid)
    except ProcessLookupError:
        descriptor = None
    yield descriptor
    if descriptor is not None:
        os.close(descriptor)


def _wait(descriptors: list[int], milliseconds: int | None) -> set[int]:
    """Wait until one of these processes ends; gives those that have."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(milliseconds)}


def end_marked(mark: str) -> None:
    """End every process that the session has started."""
    word = f"{MARK}={mark}".encode()
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if word in (entry / "environ").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), signal.SIGKILL)


def end_servers(temporary: str) -> None:
    """End the servers of every place that nobody uses any more."""
    from infra.deploy.services.directories import ServerDirectory
    from infra.deploy.services.provisioning import stop_servers
    from tests import services
    from tests.chaos import servers

    services.leave()
    for lock in (SERVICES / "chaos").glob("*.lock"):
        with _free(lock) as free:
            if free:
                above = ServerDirectory(lock.with_suffix(""), durable=False)
                for state in (*above.state.glob("node-*"), above.state):
                    servers.remove(ServerDirectory(state, durable=False))
    with _free(SERVICES / "bench" / "bench.lock") as free:
        if free:
            stop_servers(ServerDirectory(SERVICES / "bench"))
    for state in {file.parents[1] for file in _pid_files(temporary)}:
        servers.remove(ServerDirectory(state, durable=False))


def _pid_files(temporary: str) -> Iterator[Path]:
    return Path(temporary).rglob("run/*.pid") if temporary else iter(())


@contextlib.contextmanager
def _free(lock: Path) -> Iterator[bool]:
    """Hold a lock file, if there is one and nobody has it."""
    if not lock.is_file():
        yield False
        return
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def main() -> int:
    """Wait for the session's end, then end what is left of it."""
    session, mark, temporary, *parent = sys.argv[1:]
    watch(int(session), int(parent[0]) if parent else None)
    end_marked(mark)
    end_servers(temporary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
