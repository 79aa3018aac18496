"""``adrelay restore`` over a log of which nothing is handled, and one of which everything is.

The log holds reports alone, each of which causes an event: the dearest kind. What is measured is
from the plan to the result, without the start of the process.
"""

import asyncio
from collections.abc import Awaitable, Callable

import orjson
import psutil

from infra.amqp.connection import BrokerConnection
from infra.messaging.event_log import read_log
from infra.resources import open_resources
from infra.storage.log_marks import insert_mark
from tests.bench.events import fill_ours
from tests.bench.results import Result
from tests.bench.stage import Stage, cpu_of, measured, program

EVENTS = 200_000
PATIENCE = 600.0  # seconds
COMMAND = ("python", "-m", "infra.commands", "restore", "--from-log", "--yes", "--json")
UNDO = "truncate inbox, outbox, campaign_metrics, log_marks, log_positions"

Step = tuple[str, Callable[[Stage], Awaitable[list[Result]]]]


def steps(share: float) -> list[Step]:
    """List the measurement; ``share`` makes the log shorter."""

    async def restoring(stage: Stage) -> list[Result]:
        return await _measure(stage, max(1000, int(EVENTS * share)))

    return [("restore", restoring)]


async def _measure(stage: Stage, count: int) -> list[Result]:
    """Restore a log twice: nothing of it is handled at first, and then everything."""
    await stage.clear()
    start = await _find_next_offset(stage)
    await fill_ours(stage.publisher, count)
    await stage.database.execute(UNDO)
    found: list[Result] = []
    for name in ("nothing handled", "all handled"):
        await _mark(stage, start, start + count)
        found += await _restore(stage, name, count)
        await stage.database.execute("vacuum analyze inbox, outbox, campaign_metrics")
        await stage.database.execute("checkpoint", timeout=PATIENCE)
    return found


async def _find_next_offset(stage: Stage) -> int:
    """Find where the log goes on; a few messages before it do no harm."""
    link, last = BrokerConnection(stage.settings, "bench"), -1
    try:
        async for batch in read_log(link, "last", timeout=10, empty_after=1):
            last = batch[-1].offset
    finally:
        await link.close()
    return last + 1


async def _mark(stage: Stage, start: int, end: int) -> None:
    async with open_resources(stage.settings, "bench") as resources, resources.engine.begin() as tx:
        await insert_mark(tx, end, start)


async def _restore(stage: Stage, name: str, count: int) -> list[Result]:
    backend = psutil.Process(await stage.database.fetchval("select pg_backend_pid()"))
    servers = backend.ppid()
    async with program(
        stage.settings, COMMAND, BENCH_TOLD="lines", PYTHONUNBUFFERED="1"
    ) as process:
        assert process.stdout is not None
        own = postgres = 0.0
        async with asyncio.timeout(PATIENCE):
            async for line in process.stdout:
                told = orjson.loads(line)
                if told["kind"] == "plan":
                    own, postgres = measured(process.pid, cpu_of), _measure_server(servers)
                elif told["kind"] == "result":
                    break
            else:
                raise RuntimeError("the restore has not come to its end")
        own = measured(process.pid, cpu_of) - own
        postgres = _measure_server(servers) - postgres
    queue = told["queues"]["metrics.record"]
    if queue["handled"] + queue["duplicates"] != count:
        raise RuntimeError(f"the restore has not restored everything: {queue}")
    return [
        Result("restore", f"{name}: speed", "events/s", told["read"] / told["seconds"]),
        Result("restore", f"{name}: restore", "CPU us/event", own / count * 1e6),
        Result("restore", f"{name}: Postgres", "CPU us/event", postgres / count * 1e6),
    ]


def _measure_server(pid: int) -> float:
    """Measure the CPU seconds of Postgres, also of its sessions that are over."""
    times = psutil.Process(pid).cpu_times()
    ended: float = times.children_user + times.children_system
    return measured(pid, cpu_of) + ended
