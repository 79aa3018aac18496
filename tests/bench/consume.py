"""Consuming: validate, deduplicate, upsert, commit, acknowledge, with one worker.

All are measured by the same clock: the marks that they leave carry the time at which
Postgres began their transaction. What was handled from the first transaction's beginning
to the last one's beginning is all but the last one's events.
"""

import asyncio
import sys
from dataclasses import dataclass, field

from infra.deploy.services.directories import CHECKOUT
from tests.bench.events import bodies, fill, fill_ours
from tests.bench.results import Result
from tests.bench.stage import (
    OURS,
    PEERS,
    Stage,
    check,
    cpu_of,
    measured,
    memory_of,
    program,
    variables,
)
from tests.bench.tools import node_folder
from tests.processes import free_port
from tests.services import TESTER, as_user, environment

STUCK = 120.0  # seconds
POLL = 0.1  # seconds
RATE = """
    with marks as materialized (select at from {}),
        ends as materialized (select min(at) as first, max(at) as last from marks)
    select count(*) filter (where at < last) / extract(epoch from last - first)::float
    from marks, ends group by first, last
"""
MARKS = "(select handled_at as at from inbox) as ours"
PEER_MARKS = "bench_inbox"
PACKAGE = "tests.bench.peers"


@dataclass(frozen=True)
class Line:
    """A line of the table: what is run, and on how many events, so that it takes some seconds."""

    name: str
    events: int
    argv: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)
    own_tasks: str | None = None  # the module that publishes in the peer's own format

    @property
    def is_ours(self) -> bool:
        """Whether it is Adrelay."""
        return self.name.startswith("adrelay")


def ours(name: str, events: int, handler: str, batch: int = 1000) -> Line:
    """Make a line of Adrelay."""
    argv = ("python", "-m", "tests.bench.worker")
    return Line(name, events, argv, dict(variables(handler=handler, batch=batch)))


def lines() -> list[Line]:
    """List what is compared."""
    celery = ("celery", "-A", f"{PACKAGE}.with_celery", "worker", "-c", "2", "-l", "WARNING")
    dramatiq = ("dramatiq", f"{PACKAGE}.with_dramatiq", "-p", "1", "-t", "8")
    taskiq = ("taskiq", "worker", f"{PACKAGE}.with_taskiq:broker", "--workers", "1")
    limit = ("--max-async-tasks", "100", "--log-level", "WARNING")
    consumer = ("node", str(node_folder() / "consumer.js"))
    return [
        ours("adrelay", 60_000, "upsert"),
        Line("faststream", 6_000, ("python", "-m", f"{PACKAGE}.with_faststream")),
        Line("celery", 5_000, ("python", "-m", *celery), own_tasks=f"{PACKAGE}.with_celery"),
        Line("dramatiq", 8_000, ("python", "-m", *dramatiq), own_tasks=f"{PACKAGE}.with_dramatiq"),
        Line(
            "taskiq", 5_000, ("python", "-m", *taskiq, *limit), own_tasks=f"{PACKAGE}.with_taskiq"
        ),
        Line("aio-pika", 6_000, ("python", "-m", f"{PACKAGE}.plain")),
        Line("node-prefetch1", 3_000, consumer, dict(variables(prefetch=1))),
        Line("node-prefetch100", 12_000, consumer, dict(variables(prefetch=100))),
        ours("adrelay-outbox", 60_000, "record"),
        ours("adrelay-no-handler", 60_000, "nothing"),
        Line("drain", 100_000, ("python", "-m", f"{PACKAGE}.drain")),
    ]


async def measure(stage: Stage, line: Line) -> list[Result]:
    """Measure one line once: events a second, CPU an event, memory."""
    await stage.clear()
    if line.is_ours:
        await fill_ours(stage.publisher, line.events)
        return await watch(stage, line)
    await stage.declare()
    if line.own_tasks is None:
        await fill(stage.publisher, "", PEERS, line.events)
    else:
        await stage.clear()
        await _fill_with(stage, line)
    if line.name == "drain":
        return [await _drain(stage, line)]
    return await watch(stage, line, PEERS, PEER_MARKS)


async def _fill_with(stage: Stage, line: Line) -> None:
    """Let a peer publish its tasks itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", line.own_tasks or ""),
        cwd=CHECKOUT,
        env={**environment(as_user(TESTER, stage.settings)), **variables(queue=PEERS)},
        stdin=asyncio.subprocess.PIPE,
    )
    await process.communicate(b"".join(body + b"\n" for body in bodies(line.events)))
    if process.returncode:
        raise RuntimeError(f"{line.own_tasks} could not publish")


async def _drain(stage: Stage, line: Line) -> Result:
    told = variables(told="seconds", queue=PEERS, count=line.events)
    async with program(stage.settings, line.argv, **told) as process:
        assert process.stdout is not None
        async with asyncio.timeout(STUCK):
            seconds = float(await process.stdout.readline())
    return Result("consume", line.name, "events/s", line.events / seconds)


async def watch(stage: Stage, line: Line, queue: str = OURS, marks: str = MARKS) -> list[Result]:
    """Run a line's program until every event of its queue is marked; what it took."""
    more = {**line.variables, **variables(queue=queue), "PORT": str(free_port())}
    async with program(stage.settings, line.argv, **more) as process:
        usage = await _until_done(stage, line, queue, marks, process)
    rate = await stage.database.fetchval(RATE.format(marks))
    return [Result("consume", line.name, "events/s", rate), *usage]


async def _until_done(
    stage: Stage, line: Line, queue: str, marks: str, process: asyncio.subprocess.Process
) -> list[Result]:
    """Wait until every event is marked; tells what the program used meanwhile."""
    left = done = line.events
    cpu_before, peak = 0.0, 0.0
    async with asyncio.timeout(STUCK):
        while True:
            check(process)
            ready = await stage.ready(queue)
            if left == line.events and ready < left:
                left, cpu_before = ready, measured(process.pid, cpu_of)
            peak = max(peak, measured(process.pid, memory_of))
            if ready == 0:
                done = await stage.database.fetchval(f"select count(*) from {marks}")  # noqa: S608 - constants
                if done >= line.events:
                    break
            await asyncio.sleep(POLL)
    cpu = measured(process.pid, cpu_of) - cpu_before
    return [
        Result("cpu", line.name, "us/event", cpu / max(1, left) * 1e6),
        Result("memory", line.name, "MiB", peak),
    ]
