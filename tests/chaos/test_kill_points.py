"""kill -9 and SIGTERM at labelled points of each worker: afterwards each effect is there once."""

import signal
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from tests.chaos.dying import POINTS
from tests.chaos.stage import Stage
from tests.chaos.workloads.auth import Register
from tests.chaos.workloads.base import COUNT, Queued, Workload
from tests.chaos.workloads.campaigns import Apply, Overtaken, Record, Unknown
from tests.chaos.workloads.metrics import Metrics, TooEarly
from tests.chaos.workloads.relay import Office, Outbox, Spoiled
from tests.chaos.workloads.sync import Leased, Sync
from tests.infra.ledger import until

pytestmark = pytest.mark.timeout(60)

Make = Callable[[], Workload]
CONSUMER = ("before-claim", "before-commit", "commit-ack")
# The first arrival is that of a message alone, the second that of a whole batch.
ARRIVALS = (1, 2)
ROUNDS = 3  # of healthy workers, one after the other
SHORT = {
    ("Metrics", "commit-ack", 2),
    ("Sync", "push-release", 2),
    ("Overtaken", "republish-ack", 2),
    ("Outbox", "publish-delete", 1),
}


def spoiled_metrics() -> Spoiled:
    return Spoiled(Metrics())


def spoiled_registrations() -> Spoiled:
    return Spoiled(Register())


def cases() -> list[Any]:
    """List who is killed where, and when it comes there."""
    points: list[tuple[Make, tuple[str, ...], tuple[int, ...]]] = [
        *((make, CONSUMER, ARRIVALS) for make in (Metrics, Apply, Record, Office)),
        (Sync, ("lease-push", "push-release", *CONSUMER), ARRIVALS),
        # One request at a time, eight of them together.
        (Register, ("commit-answer", *CONSUMER), (1, 5)),
        (Outbox, ("lease-publish", "publish-delete", "delete-commit"), (1,)),
        *((m, ("republish-ack",), ARRIVALS) for m in (Overtaken, TooEarly, Leased, Unknown)),
        *((m, ("republish-ack",), (1,)) for m in (spoiled_metrics, spoiled_registrations)),
    ]
    every = [(m, p, n) for m, places, counts in points for p in places for n in counts]
    return [_case(*case) for case in every]


def _case(make: Make, point: str, nth: int) -> Any:
    name = make.__name__
    marks = () if (name, point, nth) in SHORT else (pytest.mark.long,)
    return pytest.param(make, point, nth, id=f"{name.lower()}-{point}-{nth}", marks=marks)


@pytest.mark.parametrize(("make", "point", "nth"), cases())
async def test_a_worker_that_is_killed_at_a_point_has_done_everything_once_in_the_end(
    stage: Stage, make: Make, point: str, nth: int
) -> None:
    work = make()
    await work.send(stage)
    await stage.struck(work.module, point, nth)
    await _recover(stage, work)


@pytest.mark.parametrize(
    ("make", "point"),
    [
        (Metrics, "before-commit"),
        *(
            pytest.param(make, point, marks=pytest.mark.long)
            for make, point in (
                (Apply, "before-commit"),
                (Record, "commit-ack"),
                (Sync, "push-release"),
                (Register, "before-claim"),
                (Office, "before-commit"),
                (Overtaken, "republish-ack"),
            )
        ),
    ],
)
async def test_a_worker_that_is_asked_to_end_in_the_middle_of_a_batch_finishes_it(
    stage: Stage, make: Callable[[], Queued], point: str
) -> None:
    work = make()
    await work.send(stage)
    await stage.struck(work.module, point, 2, signal.SIGTERM)
    # What was in hand is handled and acknowledged, or told to come again; the rest lies there.
    left = await stage.waiting(work.queue)
    assert await stage.handled(work.queue) + left == COUNT
    await _recover(stage, work)


@pytest.mark.long
async def test_a_relay_that_is_asked_to_end_deletes_what_it_has_published(stage: Stage) -> None:
    work = Outbox()
    await work.send(stage)
    await stage.struck(work.module, "publish-delete", 1, signal.SIGTERM)
    assert await work.done(stage)
    assert all(len(copies) == 1 for copies in (await stage.seen()).values())


async def _recover(stage: Stage, work: Workload) -> None:
    """Let a healthy worker finish; what it is given afterwards, another one.

    A copy on its way from the retry ladder to its queue counts in neither for a moment, so it
    may come back when all seems to be done.
    """
    await work.between(stage)
    for _ in range(ROUNDS):
        async with stage.healthy(work.module):
            await until(lambda: work.done(stage))
        if await work.done(stage):
            break
    else:
        pytest.fail("something is given back each time")
    await stage.relay()
    await work.check(stage)


@pytest.mark.parametrize("name", POINTS)
def test_every_point_is_a_function(name: str) -> None:
    point = POINTS[name]
    owner, _, attribute = point.name.rpartition(".")
    module = import_module(point.module)
    assert callable(getattr(getattr(module, owner) if owner else module, attribute))
