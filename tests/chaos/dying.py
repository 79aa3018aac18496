"""A worker that is struck by a signal at a labelled point: ``python -m tests.chaos.dying``.

``DYING`` says who, where, when and by what: ``workers.metrics commit-ack 2 SIGKILL``. The
module's own ``main`` runs, with its own handlers on real servers; only the function at the
point was wrapped before, from here. So production code has no hook to be struck at, and this
is no mock: nothing is replaced by an imitation, in a process that nobody else lives in.
"""

import os
import runpy
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

Call = Callable[..., Awaitable[Any]]
VARIABLE = "DYING"


@dataclass(frozen=True, slots=True)
class Point:
    """A moment ``when`` a function is entered or has returned.

    ``name`` is looked up in ``module``: ``outbox.add`` there is the function as this module
    alone calls it.
    """

    when: Literal["before", "after"]
    module: str
    name: str


POINTS: Mapping[str, Point] = {
    # Every consumer.
    "before-claim": Point("before", "infra.messaging.attempt", "inbox.claim"),
    "before-commit": Point("after", "infra.messaging.attempt", "outbox.add"),
    "commit-answer": Point("before", "infra.messaging.settler", "Settler._reply"),
    "commit-ack": Point("before", "infra.messaging.reader", "ChannelReader.ack"),
    "republish-ack": Point("after", "infra.messaging.settler", "Settler._publish_failures"),
    # Sync, on both sides of the platform's answer.
    "lease-push": Point("before", "handlers.sync.handlers", "push_all"),
    "push-release": Point("after", "handlers.sync.handlers", "push_all"),
    # The relay's outbox.
    "lease-publish": Point("before", "infra.amqp.publisher", "Publisher.publish_all"),
    "publish-delete": Point("before", "infra.messaging.outbox_relay", "outbox.delete"),
    "delete-commit": Point("after", "infra.messaging.outbox_relay", "outbox.delete"),
    # The ingress.
    "confirm-answer": Point(
        "after", "workers.ingress.backends.durable_publisher", "DurablePublisher.publish"
    ),
    "batch-answer": Point(
        "after", "workers.ingress.backends.durable_publisher", "DurablePublisher.publish_all"
    ),
    "outbox-commit": Point("after", "workers.ingress.backends.outbox_writer", "outbox.add"),
    "outbox-answer": Point("after", "workers.ingress.backends.outbox_writer", "OutboxWriter.write"),
}


def trace_of(point: str, nth: int) -> str:
    """Word what a struck process leaves on its standard error."""
    return f"struck at {point}, arrival {nth}"


def aim(name: str, nth: int, number: signal.Signals) -> None:
    """Let this process be struck when it comes to a point for the ``nth`` time."""
    arrivals = 0

    def arrive() -> None:
        nonlocal arrivals
        arrivals += 1
        if arrivals == nth:
            os.write(2, f"{trace_of(name, nth)}\n".encode())
            os.kill(os.getpid(), number)

    point = POINTS[name]
    owner, attribute = _owner_of(point)
    setattr(owner, attribute, _wrapped(getattr(owner, attribute), point.when, arrive))


def _owner_of(point: Point) -> tuple[Any, str]:
    """Find what holds the function; another module gets a namesake that this one alone sees."""
    module = import_module(point.module)
    holder, _, attribute = point.name.rpartition(".")
    if not holder:
        return module, attribute
    owner = getattr(module, holder)
    if isinstance(owner, ModuleType):
        owner = SimpleNamespace(**vars(owner))
        setattr(module, holder, owner)
    return owner, attribute


def _wrapped(call: Call, when: str, arrive: Callable[[], None]) -> Call:
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        if when == "before":
            arrive()
        result = await call(*arguments, **named)
        if when == "after":
            arrive()
        return result

    return wrapped


if __name__ == "__main__":
    worker, at, count, signal_name = os.environ[VARIABLE].split()
    aim(at, int(count), signal.Signals[signal_name])
    runpy.run_module(worker, run_name="__main__", alter_sys=True)
