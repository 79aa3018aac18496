"""How much two cores take: what each route costs in each process, and whether that predicts it.

``make bench ARGS=capacity`` starts the real processes on the bench's servers, sends more of each
route alone than they can take, and divides the CPU time of every process (from /proc), until all of
it has taken effect, by the units that were accepted. What runs without any load is measured first
and subtracted.
From that it predicts for three mixes the rate at which the cores are full, wrk's share included,
since it runs on the same ones. Then it sends each mix at rates around the prediction: a rate is
sustained if at its end all but the units of the last second have taken effect and are indexed.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from infra.amqp import topology
from infra.deploy.procfile import RELEASE, read_procfile
from infra.settings import Settings
from tests.bench import capacity_tables as tables
from tests.bench.capacity_model import WEB_PROCESSES, Costs, Prediction, mix_costs, predict
from tests.bench.capacity_requests import FLOOD_RATES, MIXES, Client, open_client
from tests.bench.paced_wrk import Request, Sent, send
from tests.bench.results import Result
from tests.bench.stage import Stage, program, say, wait_until_ready
from tests.bench.usage import Usage, find_servers, read_memory, read_usage
from tests.processes import free_port

IDLE_SECONDS, SECONDS, CHECK_SECONDS = 8, 6, 10
FLOOD = 1e9  # requests a second: as many as wrk can
QUIET = 0.1  # cores that others may use without load
LATE = 1.0  # seconds; what came before them has taken effect where a rate is sustained
LOOK_INTERVAL, QUIET_SECONDS = 0.25, 1.5  # without a change, after which nothing is under way
STEPS = [round(0.7 + 0.05 * step, 2) for step in range(13)]  # of the prediction
ALLOWED = 0.15
DRAIN = 120.0  # seconds
WAITING = """select (select count(*) from outbox), (select count(*) from inbox),
    (select count(*) from event_index)"""
DONE = """select (select count(*) from inbox
        where consumer in ('metrics.record', 'campaigns.apply')) as effects,
    (select count(*) from event_index) as indexed, (select count(*) from outbox) as outbox"""
KEPT = ("inbox", "event_index")  # a row for every event that was handled, or is in the log
SIZE = "select pg_total_relation_size('{0}')::float / greatest(count(*), 1) from {0}"
WAL = "select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"


@dataclass(frozen=True, slots=True)
class System:
    """The running processes: their ids by name, the port of the API, what is used without load."""

    stage: Stage
    pids: Mapping[str, int]
    client: Client
    port: int
    idle: Usage

    async def run(self, requests: Sequence[Request], rate: float, seconds: int) -> Sent:
        """Send units at a rate for some seconds."""
        mean = sum(one.units for one in requests) / len(requests)
        return await send(self.port, requests, rate / mean, seconds)

    async def drain(self) -> float:
        """Wait until nothing is under way; gives the ``time.monotonic()`` of the last effect."""
        before: object = None
        changed = time.monotonic()
        async with asyncio.timeout(DRAIN):
            while True:
                ready = [await self.stage.ready(name) for name in topology.WORK_QUEUE_NAMES]
                waiting = tuple(await self.stage.database.fetchrow(WAITING) or ())
                now = time.monotonic()
                if waiting != before:
                    before, changed = waiting, now
                elif not any(ready) and not waiting[0] and now > changed + QUIET_SECONDS:
                    return changed
                await asyncio.sleep(LOOK_INTERVAL)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a unit of a route costs: CPU microseconds by component, bytes to disk."""

    cpu: Costs
    broker_bytes: float
    wal_bytes: float
    rate: float  # units a second that took effect


@asynccontextmanager
async def open_system(stage: Stage) -> AsyncIterator[System]:
    """Start every process of the Procfile and the sandbox, and watch them do nothing."""
    ports = {name: free_port() for name in (*read_procfile(), "sandbox") if name != RELEASE}
    sandbox = f"http://127.0.0.1:{ports['sandbox']}"
    urls = {f"{name}_url": f"{sandbox}/{name}" for name in ("claude", "chatgpt", "gemini")}
    quiet = {"sandbox_metrics_seconds": 0, "sandbox_status_seconds": 0, "sandbox_state": ""}
    argon2 = {n: f.default for n, f in Settings.model_fields.items() if n.startswith("argon2")}
    settings = stage.settings.model_copy(update={**urls, **quiet, **argon2})
    pids = {**find_servers(), "bench": os.getpid()}
    async with AsyncExitStack() as running:
        for name, port in ports.items():
            module = "infra.sandbox" if name == "sandbox" else read_procfile()[name].split()[-1]
            more = {"PORT": str(port)}
            if name == "web":
                more |= {"WEB_PROCESSES": str(WEB_PROCESSES), "WEB_METRICS_PORT": str(free_port())}
            argv = ("python", "-m", module)
            process = await running.enter_async_context(program(settings, argv, **more))
            pids[name] = process.pid
            await wait_until_ready(process, port)
        own = replace(stage, settings=settings)
        client = await open_client(own, ports["web"])
        await asyncio.sleep(2)
        before = read_usage(pids)
        await asyncio.sleep(IDLE_SECONDS)
        yield System(own, pids, client, ports["web"], read_usage(pids).since(before))


async def measure_route(system: System, route: str) -> Cost:
    """Measure a route with more of it than the system can take, until all has taken effect.

    A unit costs the less the more arrive, because batches grow: what it costs at the limit shows
    there alone.
    """
    requests = system.client.make(route, FLOOD_RATES[route] * SECONDS)
    before, wal = read_usage(system.pids), await system.stage.database.fetchval(WAL)
    began = time.monotonic()
    sent = await send(system.port, requests, FLOOD, SECONDS)
    if sent.wrong:
        raise RuntimeError(f"{route}: {sent.wrong}")
    if sent.requests > len(requests):
        raise RuntimeError(f"{route}: sent again, FLOOD_RATES must be higher: {sent.requests}")
    ended = await system.drain()
    used = read_usage(system.pids).since(before)
    wal = await system.stage.database.fetchval(WAL) - wal
    done = sum(one.units for one in requests) * sent.requests / len(requests)
    return Cost(
        divide_cpu(used, system.idle, done),
        used.written["rabbitmq"] / done,
        wal / done,
        done / (ended - began),
    )


def divide_cpu(used: Usage, idle: Usage, units: float) -> dict[str, float]:
    """Divide the CPU time beyond that without load among units; microseconds by component.

    The time of wrk, a child of the bench that has ended, is the bench's.
    """
    part = used.seconds / idle.seconds
    cpu = {name: used.cpu[name] - idle.cpu[name] * part for name in used.cpu}
    others = used.machine - idle.machine * part - sum(cpu.values())
    cpu["generator"] = cpu.pop("bench")
    cpu["kernel and others"] = others if is_quiet(idle) else 0.0
    return {name: max(0.0, seconds) / units * 1e6 for name, seconds in cpu.items()}


def is_quiet(idle: Usage) -> bool:
    """Tell whether next to nothing else runs on the machine, so that the rest is the kernel's."""
    return (idle.machine - sum(idle.cpu.values())) / idle.seconds < QUIET


def free_cores(idle: Usage) -> float:
    """Compute how many cores nothing uses while there is no load; of others where it is quiet."""
    used = idle.machine if is_quiet(idle) else sum(idle.cpu.values())
    return len(os.sched_getaffinity(0)) - used / idle.seconds


async def find_sustained(system: System, mix: str, predicted: float) -> float:
    """Find the largest of ``STEPS`` that is sustained, by halving; 0 if none is."""
    least, most = -1, len(STEPS)
    while most - least > 1:
        middle = (least + most) // 2
        if await _is_sustained(system, mix, STEPS[middle] * predicted):
            least = middle
        else:
            most = middle
    return STEPS[least] if least >= 0 else 0.0


async def _is_sustained(system: System, mix: str, rate: float) -> bool:
    requests = system.client.mix(MIXES[mix], rate * CHECK_SECONDS)
    units = sum(one.units for one in requests)
    before = await system.stage.database.fetchrow(DONE)
    sent = await system.run(requests, rate, CHECK_SECONDS)
    after = await system.stage.database.fetchrow(DONE)
    ended = time.monotonic()
    drained = await system.drain() - ended
    accepted = units * sent.requests / len(requests)
    effects, indexed = (after[name] - before[name] for name in ("effects", "indexed"))
    least = accepted - rate * LATE
    kept = accepted >= 0.97 * rate * CHECK_SECONDS and not sent.wrong
    kept = kept and min(effects, indexed) >= least and after["outbox"] <= rate * LATE
    say(
        f"  {mix}: {rate:,.0f}/s, {accepted / CHECK_SECONDS:,.0f}/s accepted,"
        f" {effects / CHECK_SECONDS:,.0f}/s handled, {indexed / CHECK_SECONDS:,.0f}/s indexed,"
        f" {after['outbox']} in the outbox, drained after {drained:.1f} s:"
        f" {'sustained' if kept else 'not sustained'} {sent.wrong}"
    )
    return kept


async def measure(stage: Stage) -> list[Result]:
    """Measure, print the tables as Markdown, give the figures."""
    await stage.clear()
    async with open_system(stage) as system:
        costs: dict[str, Cost] = {}
        for route in FLOOD_RATES:
            costs[route] = await measure_route(system, route)
            say(
                f"  {route}: {sum(costs[route].cpu.values()):,.0f} us at {costs[route].rate:,.0f}/s"
            )
        memory = read_memory(system.pids)
        kept = {name: await stage.database.fetchval(SIZE.format(name)) for name in KEPT}
        checks: dict[str, tuple[Prediction, float]] = {}
        by_route = {route: cost.cpu for route, cost in costs.items()}
        for mix, shares in MIXES.items():
            found = predict(mix_costs(by_route, shares), free_cores(system.idle))
            checks[mix] = found, await find_sustained(system, mix, found.rate)
        if not is_quiet(system.idle):
            say("others use this machine: the check says little, the kernel is not counted")
        say(tables.write(costs, kept, system.idle, memory, checks))
    results = [
        Result("capacity", f"{route}, {name}", "us", value)
        for route, cost in costs.items()
        for name, value in cost.cpu.items()
    ]
    results += [
        Result("capacity", f"{mix}: {what}", "units/s", value)
        for mix, (found, step) in checks.items()
        for what, value in (("predicted", found.rate), ("sustained", step * found.rate))
    ]
    return results


def is_off(results: Sequence[Result]) -> bool:
    """Tell whether the sustained rate of a mix is further than ``ALLOWED`` from predicted."""
    values = {result.name: result.value for result in results if result.section == "capacity"}
    ratios = [
        values[f"{mix}: sustained"] / values[f"{mix}: predicted"]
        for mix in MIXES
        if f"{mix}: predicted" in values
    ]
    return any(abs(ratio - 1) > ALLOWED + 1e-9 for ratio in ratios)
