"""How it grows: backlog, processes, a full inbox, large events; and the memory of a long drain."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial

from tests.bench.consume import RATE
from tests.bench.events import fill_ours
from tests.bench.results import Result
from tests.bench.stage import OURS, Stage, check, measured, memory_of, program, say, variables
from tests.processes import free_port

WORKER = ("python", "-m", "tests.bench.worker")
STUCK = 1200.0  # seconds
POLL = 0.5  # seconds
BACKLOGS = {"10k": 10_000, "100k": 100_000, "1M": 1_000_000}
PROCESSES = (1, 2, 4)
SIZES = {"0.4 KB": 400, "4 KB": 4_000, "40 KB": 40_000}
EVENTS = 100_000
LARGEST_FILL = 400_000_000  # bytes
LEAST = 10_000  # events; fewer are over before a rate can be seen
INBOXES = {"empty": 0, "10M": 10_000_000}
# Marks as another consumer would leave them: in the same index, out of our way in the count.
CROWD = """
    insert into inbox (consumer, key, digest)
    select 'bench.crowd', gen_random_uuid(), gen_random_uuid() from generate_series(1, $1)
"""
OURS_ALONE = f"(select handled_at as at from inbox where consumer = '{OURS}') as ours"  # noqa: S608 - constants
COUNT = f"select count(*) from {OURS_ALONE}"  # noqa: S608 - constants

Step = tuple[str, Callable[[Stage], Awaitable[list[Result]]]]


def steps(share: float) -> Iterator[Step]:
    """List the measurements; ``share`` makes all of them smaller."""

    def part(number: int) -> int:
        return max(LEAST, int(number * share))

    for shown, backlog in BACKLOGS.items():
        name = f"backlog {shown}"
        yield name, partial(drain, name=name, count=part(backlog))
    for processes in PROCESSES:
        name = f"processes {processes}"
        yield name, partial(drain, name=name, count=part(2 * EVENTS), processes=processes)
    for shown, size in SIZES.items():
        name, count = f"event {shown}", part(min(EVENTS, LARGEST_FILL // size))
        yield name, partial(drain, name=name, count=count, size=size)
    for shown, rows in INBOXES.items():
        name = f"inbox {shown}"
        yield name, partial(drain, name=name, count=part(EVENTS), rows=int(rows * share))


async def drain(
    stage: Stage, name: str, count: int, processes: int = 1, size: int = 0, rows: int = 0
) -> list[Result]:
    """Measure the upsert handler on a backlog: rate, and the memory of the largest worker."""
    await stage.clear()
    if rows:
        say(f"filling the inbox with {rows:,} marks")
        await stage.database.execute(CROWD, rows, timeout=STUCK)
        await stage.database.execute("vacuum analyze inbox", timeout=STUCK)
        await stage.database.execute("checkpoint", timeout=STUCK)
    await fill_ours(stage.publisher, count, size)
    async with AsyncExitStack() as running:
        workers = []
        for _ in range(processes):
            own = {**variables(handler="upsert"), "PORT": str(free_port())}
            workers.append(
                await running.enter_async_context(program(stage.settings, WORKER, **own))
            )
        seen = await _memory_until_done(stage, workers, count)
    rate = await stage.database.fetchval(RATE.format(OURS_ALONE), timeout=STUCK)
    early, late = seen[len(seen) // 4], seen[-1]
    return [
        Result("growth", name, "events/s", rate),
        Result("growth memory", f"{name}: peak", "MiB", max(seen)),
        Result("growth memory", f"{name}: after 1/4", "MiB", early),
        Result("growth memory", f"{name}: end", "MiB", late),
    ]


async def _memory_until_done(
    stage: Stage, workers: list[asyncio.subprocess.Process], marks: int
) -> list[float]:
    """Watch until all is marked; gives the memory of the largest worker, sample by sample."""
    seen: list[float] = []
    async with asyncio.timeout(STUCK):
        while True:
            for worker in workers:
                check(worker)
            seen.append(max(measured(worker.pid, memory_of) for worker in workers))
            if await stage.ready(OURS) == 0 and await stage.database.fetchval(COUNT) >= marks:
                return seen
            await asyncio.sleep(POLL)
