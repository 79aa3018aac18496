"""A process from its start to its end: signals, consumers, probes, drain.

SIGTERM or SIGINT stops the taking; what is in hand is finished within
``SHUTDOWN_DEADLINE``, the rest goes back to the broker, and the process exits 0. A second
signal exits at once. A task that should run for ever and ends takes the process with it
(exit 1): the process manager starts a fresh one.
"""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import uvloop
from aiohttp import web

from infra import logs, metrics
from infra.amqp import topology
from infra.amqp.connection import BrokerConnection
from infra.background import BackgroundTasks
from infra.health import CheckResult, Checks, PassedCheck, probe_routes
from infra.messaging.consumer import Consumer
from infra.messaging.routing_state import read_broken_paths
from infra.messaging.subscription import AnySubscription
from infra.resources import Resources, find_trouble, open_resources
from infra.settings import Settings, load_settings, require

PORTS: Mapping[str, int] = {
    "web": 8080,
    "auth": 9101,
    "campaigns": 9102,
    "sync": 9103,
    "metrics": 9104,
    "relay": 9105,
    "ops": 9106,
}
DEAD_QUEUES = frozenset(map(topology.dead_queue, topology.WORK_QUEUE_NAMES))
LAG_INTERVAL = 0.1  # seconds
GC_THRESHOLD = 20_000  # objects more than went, until the collector looks at the young ones
CANCEL_TIMEOUT = 5.0  # seconds that cancelled tasks may take to end

# A task that runs until the event is set.
BackgroundTask = Callable[[Resources, asyncio.Event], Awaitable[None]]

log = logging.getLogger(__name__)


def main(
    name: str,
    subscriptions: Sequence[AnySubscription],
    forever: Sequence[BackgroundTask] = (),
    *,
    check: Callable[[Settings], object] | None = None,
) -> None:
    """Run the worker called ``name``; exits the process.

    ``check`` raises ``ValueError`` when a setting that this worker needs is missing or wrong.
    """
    settings = load_settings()
    if check is not None:
        require(check, settings)
    logs.configure_logging(settings.log_level, settings.log_levels, settings.log_format)
    metrics.export_build_info()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(run_worker(settings, name, subscriptions, forever))
    raise SystemExit(code)


async def run_worker(
    settings: Settings,
    name: str,
    subscriptions: Sequence[AnySubscription],
    forever: Sequence[BackgroundTask] = (),
) -> int:
    """Consume until a signal comes; tells the exit status."""
    stop = stop_on_signals()
    async with open_resources(settings, name) as resources:
        link = BrokerConnection(settings, f"{name}:consume")
        alone = asyncio.Lock()
        consumers = [Consumer(sub, resources, link, alone) for sub in subscriptions]
        runner = await serve(_probes(resources, consumers, stop), settings, name)
        tasks = [
            asyncio.create_task(consumer.run(stop), name=consumer.queue) for consumer in consumers
        ]
        tasks += [_task(run(resources, stop), run.__name__) for run in forever]
        tune_gc()
        log.info("started", extra={"task": name, "port": settings.port or PORTS[name]})
        try:
            deadline = settings.shutdown_deadline
            return await run_until(stop, tasks, deadline, resources.background)
        finally:
            await runner.cleanup()
            await link.close()


def tune_gc() -> None:
    """Keep the garbage collector off what stands, and from looking at every few requests.

    What stands now stands until the end. Of what comes and goes hardly anything is part of a
    cycle, so it is enough to look for cycles now and then.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)


async def run_until(
    stop: asyncio.Event,
    tasks: Iterable[asyncio.Task[None]],
    deadline: float,
    background: BackgroundTasks,
) -> int:
    """Run tasks that should run for ever until ``stop``; then give them ``deadline`` seconds.

    Tells the exit status: 1 when one of them has ended, or a background task has failed.
    """
    lasting = set(tasks)
    failing = _task(background.wait_for_failure(), "background tasks")
    running = {*lasting, failing, asyncio.create_task(_measure_lag(), name="loop lag")}
    stopping = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({stopping, *running}, return_when=asyncio.FIRST_COMPLETED)
    code = 0
    for task in done - {stopping}:
        # After a stop they may end; before it none may.
        if not stop.is_set():
            error = None if task.cancelled() else task.exception()
            name = background.failed_task if task is failing else task.get_name()
            log.critical(
                "a task that runs for ever has ended",
                extra={"task": name},
                exc_info=error,
            )
            code = 1
    stop.set()
    if code == 0 and lasting:
        _, late = await asyncio.wait(lasting, timeout=deadline)
        if late:
            log.warning("returning unfinished messages to the broker", extra={"count": len(late)})
    for task in (*running, stopping):
        task.cancel()
    await asyncio.wait({*running, stopping}, timeout=CANCEL_TIMEOUT)
    return code


def stop_on_signals() -> asyncio.Event:
    """Give an event that the first SIGTERM or SIGINT sets; the second one exits at once."""
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop


async def serve(checks: Checks, settings: Settings, name: str) -> web.AppRunner:
    """Serve the probes of a worker on its port."""
    app = web.Application()
    app.add_routes(probe_routes(checks))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, settings.host, settings.port or PORTS[name]).start()
    return runner


def _probes(resources: Resources, consumers: Sequence[Consumer], stop: asyncio.Event) -> Checks:
    async def checks() -> dict[str, CheckResult]:
        trouble = await find_trouble(resources)
        broken = frozenset[str]() if trouble else await read_broken_paths(resources.engine)
        return {
            "not draining": not stop.is_set(),
            "broker": resources.publisher.trouble or True,
            "database": trouble or True,
            **{c.queue: _check_consumer(c, broken) for c in consumers},
        }

    return checks


def _check_consumer(consumer: Consumer, broken: frozenset[str]) -> CheckResult:
    """Say what is wrong with a consumer or the paths that its queue needs: the relay's need all."""
    queue, note = consumer.queue, consumer.note
    concerned = broken if queue in DEAD_QUEUES else broken & {queue}
    if consumer.trouble:
        return consumer.trouble
    if concerned:
        return f"broken paths: {', '.join(sorted(concerned))}"
    return PassedCheck(note) if note else True


def _task(running: Awaitable[None], name: str) -> asyncio.Task[None]:
    async def run() -> None:
        await running

    return asyncio.create_task(run(), name=name)


async def _measure_lag() -> None:
    loop = asyncio.get_running_loop()
    while True:
        before = loop.time()
        await asyncio.sleep(LAG_INTERVAL)
        metrics.LOOP_LAG_SECONDS.observe(max(0.0, loop.time() - before - LAG_INTERVAL))
