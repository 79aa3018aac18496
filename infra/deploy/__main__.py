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
from infra.deploy.services.directories import RUNNING as PLACE
from infra.deploy.services.provisioning import install_missing, provide
from infra.deploy.started_settings import changed_settings
from infra.deploy.supervisor import Supervisor
from infra.env_file import read_env_file

# A closed terminal and a polite kill end a command as Ctrl-C does: what it began is taken back.
ENDING = (signal.SIGTERM, signal.SIGHUP)


def say(text: str) -> None:
    """Tell the person at the terminal how far we are."""
    print(f"adrelay: {text}", flush=True)


def run() -> int:
    """Run in the foreground until Ctrl-C; ends all that it has started."""
    started = False
    try:
        with command_lock(PLACE, "run", say):
            if stack.running(PLACE):
                say("it is running already ('make status' shows it, 'make down' ends it)")
                return 1
            started = True
            Daemon(PLACE, stack.SUPERVISOR).enter()
            processes = stack.start(PLACE, os.environ, say)
        return asyncio.run(_foreground(processes))
    except KeyboardInterrupt:
        return 130
    except (NotStarted, readiness.NotReady, RuntimeError) as error:
        say(str(error))
        return 1
    finally:
        if started:
            _stop_undisturbed()


async def _foreground(processes: Sequence[Process]) -> int:
    supervisor = Supervisor(PLACE, processes, os.environ)
    supervisor.heed_signals()
    supervising = asyncio.create_task(supervisor.run())
    waiting = asyncio.create_task(readiness.wait_until_ready(PLACE, processes))
    await asyncio.wait({supervising, waiting}, return_when=asyncio.FIRST_COMPLETED)
    failure = waiting.exception() if waiting.done() else None
    if failure is not None:
        supervisor.stop()
        say(str(failure))
    elif waiting.done():
        print(console.text(PLACE), flush=True)
    waiting.cancel()
    await supervising
    return 1 if failure is not None else 0


def _stop_undisturbed() -> None:
    for number in (signal.SIGINT, *ENDING):
        signal.signal(number, signal.SIG_IGN)
    say("stopping")
    Daemon(PLACE, stack.SUPERVISOR).leave()
    stack.stop(PLACE)
    say("stopped")


def up() -> int:
    """Run in the background; returns when every process is ready.

    Where it runs already, servers that have died are started again, and nothing is stopped;
    settings that it was not started with are refused.
    """
    with command_lock(PLACE, "up", say):
        return _up()


def _up() -> int:
    already = stack.running(PLACE) is not None
    if already:
        changed = changed_settings(PLACE, os.environ, read_env_file(env_file(PLACE)))
        if changed:
            say(
                f"it is running already, with another {' and '.join(changed)};"
                " 'make down', then 'make up' again takes the new settings"
            )
            return 1
        provide(PLACE, {**os.environ, **read_env_file(env_file(PLACE))}, say)
    else:
        try:
            stack.start(PLACE, os.environ, say)
        except BaseException:
            stack.stop(PLACE)
            raise
        stack.start_supervisor(PLACE, os.environ)
    try:
        asyncio.run(readiness.wait_until_ready(PLACE, planned(PLACE)))
    except BaseException:
        if not already:
            stack.stop(PLACE)
        raise
    print(console.text(PLACE))
    return 0


def down() -> int:
    """End what ``up`` or ``run`` has started; the data stays."""
    with command_lock(PLACE, "down", say):
        started = time.monotonic()
        stack.stop(PLACE, say)
    say(f"stopped in {time.monotonic() - started:.1f} s")
    return 0


def status() -> int:
    """Show what runs, where and since when."""
    print(asyncio.run(console.status(PLACE)))
    return 0


def reset() -> int:
    """End it and delete its data, passwords and keys."""
    with command_lock(PLACE, "reset", say):
        stack.stop(PLACE, say)
        docker.stop(PLACE, remove=True)
        PLACE.remove()
    say("the data is deleted")
    return 0


def install() -> int:
    """Install missing servers, and what else the tests need, before anybody waits for it."""
    install_missing(say, more=[chromium, node])
    return 0


def supervise() -> int:
    """Keep the processes running: what ``up`` leaves in the background."""
    asyncio.run(_background(planned(PLACE)))
    return 0


async def _background(processes: Sequence[Process]) -> None:
    supervisor = Supervisor(PLACE, processes, os.environ)
    supervisor.heed_signals()
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
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, signal.default_int_handler)
    try:
        return COMMANDS[parser.parse_args().command]()
    except (NotStarted, readiness.NotReady, RuntimeError) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
