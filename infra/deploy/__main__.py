"""The commands behind ``make``: ``python -m infra.deploy COMMAND``."""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

from infra.deploy import console, readiness, stack
from infra.deploy.command_lock import command_lock
from infra.deploy.env_files import env_file
from infra.deploy.procfile import Process, planned
from infra.deploy.services import chromium, docker, node
from infra.deploy.services.daemon import Daemon, NotStarted
from infra.deploy.services.directories import RUN_DIRECTORY as DIRECTORY
from infra.deploy.services.provisioning import install_missing, start_servers
from infra.deploy.started_settings import changed_settings
from infra.deploy.supervisor import Supervisor
from infra.env_file import read_env_file

# A closed terminal and SIGTERM end a command as Ctrl-C does: what it started is stopped.
TERMINATION_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def report(text: str) -> None:
    """Print the progress."""
    print(f"adrelay: {text}", flush=True)


def run() -> int:
    """Run in the foreground until Ctrl-C; ends all that it has started."""
    started = False
    try:
        with command_lock(DIRECTORY, "run", report):
            if stack.supervisor_pid(DIRECTORY):
                report("it is running already ('make status' shows it, 'make down' ends it)")
                return 1
            started = True
            Daemon(DIRECTORY, stack.SUPERVISOR).register()
            processes = stack.start(DIRECTORY, os.environ, report)
        return asyncio.run(_foreground(processes))
    except KeyboardInterrupt:
        return 130
    except (NotStarted, readiness.NotReady, RuntimeError) as error:
        report(str(error))
        return 1
    finally:
        if started:
            _stop_undisturbed()


async def _foreground(processes: Sequence[Process]) -> int:
    supervisor = Supervisor(DIRECTORY, processes, os.environ)
    supervisor.install_signal_handlers()
    supervising = asyncio.create_task(supervisor.run())
    waiting = asyncio.create_task(readiness.wait_until_ready(DIRECTORY, processes))
    await asyncio.wait({supervising, waiting}, return_when=asyncio.FIRST_COMPLETED)
    failure = waiting.exception() if waiting.done() else None
    if failure is not None:
        supervisor.stop()
        report(str(failure))
    elif waiting.done():
        print(console.ready_text(DIRECTORY), flush=True)
    waiting.cancel()
    await supervising
    return 1 if failure is not None else 0


def _stop_undisturbed() -> None:
    for number in (signal.SIGINT, *TERMINATION_SIGNALS):
        signal.signal(number, signal.SIG_IGN)
    report("stopping")
    Daemon(DIRECTORY, stack.SUPERVISOR).unregister()
    stack.stop(DIRECTORY)
    report("stopped")


def up() -> int:
    """Run in the background; returns when every process is ready.

    Where it runs already, servers that have died are started again, and nothing is stopped;
    settings that it was not started with are refused.
    """
    with command_lock(DIRECTORY, "up", report):
        return _up()


def _up() -> int:
    already = stack.supervisor_pid(DIRECTORY) is not None
    if already:
        changed = changed_settings(DIRECTORY, os.environ, read_env_file(env_file(DIRECTORY)))
        if changed:
            report(
                f"it is running already, with another {' and '.join(changed)};"
                " 'make down', then 'make up' again takes the new settings"
            )
            return 1
        start_servers(DIRECTORY, {**os.environ, **read_env_file(env_file(DIRECTORY))}, report)
    else:
        try:
            stack.start(DIRECTORY, os.environ, report)
        except BaseException:
            stack.stop(DIRECTORY)
            raise
        stack.start_supervisor(DIRECTORY, os.environ)
    try:
        asyncio.run(readiness.wait_until_ready(DIRECTORY, planned(DIRECTORY)))
    except BaseException:
        if not already:
            stack.stop(DIRECTORY)
        raise
    print(console.ready_text(DIRECTORY))
    return 0


def down() -> int:
    """End what ``up`` or ``run`` has started; the data stays."""
    with command_lock(DIRECTORY, "down", report):
        started = time.monotonic()
        stack.stop(DIRECTORY, report)
    report(f"stopped in {time.monotonic() - started:.1f} s")
    return 0


def status() -> int:
    """Show what runs, where and since when."""
    print(asyncio.run(console.status_table(DIRECTORY)))
    return 0


def reset() -> int:
    """End it and delete its data, passwords and keys."""
    with command_lock(DIRECTORY, "reset", report):
        stack.stop(DIRECTORY, report)
        docker.stop(DIRECTORY, remove=True)
        DIRECTORY.remove()
    report("the data is deleted")
    return 0


def install() -> int:
    """Install missing servers, and what else the tests need."""
    install_missing(report, more=[chromium, node])
    return 0


def supervise() -> int:
    """Keep the processes running: what ``up`` leaves in the background."""
    asyncio.run(_background(planned(DIRECTORY)))
    return 0


async def _background(processes: Sequence[Process]) -> None:
    supervisor = Supervisor(DIRECTORY, processes, os.environ)
    supervisor.install_signal_handlers()
    await supervisor.run()


COMMANDS: dict[str, Callable[[], int]] = {
    "run": run,
    "up": up,
    "down": down,
    "status": status,
    "reset": reset,
    "install": install,
    "supervise": supervise,
}


def main() -> int:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m infra.deploy", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    for number in TERMINATION_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, signal.default_int_handler)
    try:
        return COMMANDS[parser.parse_args().command]()
    except (NotStarted, readiness.NotReady, RuntimeError) as error:
        report(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
