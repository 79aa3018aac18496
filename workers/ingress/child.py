"""``python -m workers.ingress.child FD NUMBER COUNT``: one of several web processes.

``workers.ingress.supervisor`` starts it with the listening socket. It says ``ready`` on standard
output, and ends when standard input does, so that none is left without a supervisor.
"""

import asyncio
import os
import socket
import sys

import uvloop

from workers.ingress.__main__ import prepare, serve
from workers.ingress.share import ProcessShare

READY = b"ready\n"


def main(descriptor: int, number: int, count: int) -> None:
    """Serve with an inherited socket until a signal; exits the process."""
    share = ProcessShare(number, count, socket.socket(fileno=descriptor))
    settings = share.divide(prepare())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(serve(settings, share, watch=_watch))
    raise SystemExit(code)


def _watch(stop: asyncio.Event) -> None:
    """Tell the supervisor that requests are answered; stop when it is gone."""
    os.write(sys.stdout.fileno(), READY)
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def on_end() -> None:
        loop.remove_reader(descriptor)
        stop.set()

    loop.add_reader(descriptor, on_end)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
