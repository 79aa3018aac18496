"""The bench's own servers, durable as in earnest, and the programs that are measured on them."""

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

import aio_pika
import aiohttp
import asyncpg
import psutil
from aio_pika.abc import AbstractConnection

from infra.amqp import topology
from infra.amqp.permissions import CONSOLE_USER, INGRESS_USER, WORKERS_USER
from infra.amqp.publisher import Publisher
from infra.background import BackgroundTasks
from infra.deploy.services import postgres
from infra.deploy.services.daemon import Daemon
from infra.deploy.services.directories import CHECKOUT, ServerDirectory
from infra.deploy.services.ports import Ports
from infra.deploy.services.provisioning import start_servers, stop_servers
from infra.process import PORTS
from infra.settings import Settings
from tests.bench.events import CAMPAIGNS
from tests.guardian import end_in_order, guard
from tests.processes import free_port
from tests.services import (
    TESTER,
    Services,
    as_user,
    environment,
    make_template,
    open_settings,
    url_as,
)

PLACE = ServerDirectory(CHECKOUT / ".services" / "bench")
LOG = PLACE.logs / "programs.log"
OURS = "metrics.record"
PEERS = "bench.events"
# The broker's users of our own programs; the peers' declare queues of their own.
WORKERS = ("tests.bench.worker", *(f"workers.{name}" for name in PORTS))
USERS = {
    "infra.commands": WORKERS_USER,
    **dict.fromkeys(WORKERS, WORKERS_USER),
    "workers.ingress": INGRESS_USER,
    "workers.ops": CONSOLE_USER,
}
STARTING, ENDING = 60.0, 15.0  # seconds
TABLES = """
    create table bench_inbox (event_id text primary key, at timestamptz not null default now());
    create table bench_metrics (
        campaign_id uuid, platform text, date date, impressions bigint, clicks bigint,
        conversions bigint, spend numeric, at timestamptz, primary key (campaign_id, date)
    );
"""
CAMPAIGN = """
    insert into campaigns (id, platform, name, status, desired_status, budget_micros, currency,
        targeting, platform_campaign_id, version, desired_version, synced_version)
    select id, 'claude', 'bench', 'active', 'active', 1, 'USD', '{}', id::text, 1, 1, 1
    from unnest($1::uuid[]) as id
"""
EMPTY = "truncate bench_inbox, bench_metrics, inbox, outbox, campaign_metrics"


@dataclass(frozen=True)
class Stage:
    """What a measurement needs."""

    settings: Settings
    publisher: Publisher
    database: "asyncpg.Connection[asyncpg.Record]"
    broker: AbstractConnection

    async def clear(self) -> None:
        """Empty the tables and queues, and let Postgres put its house in order."""
        await self.database.execute(EMPTY)
        async with self.broker.channel() as channel:
            for name in (OURS, topology.dead_queue(OURS)):
                await (await channel.get_queue(name, ensure=False)).purge()
            await channel.queue_delete(PEERS)
        await self.database.execute("vacuum analyze campaign_metrics")
        await self.database.execute("checkpoint")

    async def declare(self) -> None:
        """Make the peers' queue, a durable quorum queue as ours is."""
        async with self.broker.channel() as channel:
            await channel.declare_queue(PEERS, durable=True, arguments={"x-queue-type": "quorum"})

    async def ready(self, queue: str) -> int:
        """Count the messages that nobody has in hand."""
        async with self.broker.channel() as channel:
            found = await channel.declare_queue(queue, passive=True)
            return found.declaration_result.message_count or 0


def say(text: str) -> None:
    """Tell how far the bench is."""
    print(text, flush=True)


@contextmanager
def running() -> Iterator[Ports]:
    """Start private servers, and stop all in the end.

    Raises ``RuntimeError`` while another bench of this checkout runs.
    """
    PLACE.prepare()
    end_in_order()
    guard()
    with ExitStack() as held:
        _take_turn(held)
        try:
            yield start_servers(PLACE, {}, say).ports
        finally:
            stop_servers(PLACE)


def _take_turn(held: ExitStack) -> None:
    file = held.enter_context((PLACE.state / "bench.lock").open("a"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RuntimeError("another bench of this checkout is running") from None


@contextmanager
def servers() -> Iterator[Settings]:
    """Start private servers, make a database and a vhost, and stop all in the end.

    Raises ``RuntimeError`` while another bench of this checkout runs.
    """
    with running() as ports:
        services = Services(PLACE, ports, "bench", 1)
        services.execute("alter system set track_commit_timestamp = on")
        Daemon(PLACE, postgres.NAME).stop(signal.SIGINT)
        start_servers(PLACE, {}, lambda _: None)
        services.execute("drop database if exists test_bench_bench with (force)")
        make_template(services)
        with open_settings(services, "bench") as settings:
            # pg_checkpoint: so that no measurement pays for what an earlier one has written.
            services.execute(f"grant pg_checkpoint to {postgres.ROLE}")
            yield settings


@asynccontextmanager
async def open_stage(settings: Settings) -> AsyncIterator[Stage]:
    """Connect, and put what is the same for all into the database."""
    database = await asyncpg.connect(settings.database_url.get_secret_value(), timeout=10)
    broker = await aio_pika.connect(url_as(TESTER, settings.rabbitmq_url), timeout=10)
    async with Publisher(settings, "bench", BackgroundTasks()) as publisher, broker:
        await database.execute(TABLES)
        await database.execute(CAMPAIGN, CAMPAIGNS)
        yield Stage(settings, publisher, database, broker)
    await database.close()


@asynccontextmanager
async def program(
    settings: Settings, argv: Sequence[str], **more: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program for the length of a block; ``python`` stands for this interpreter."""
    words = [sys.executable if word == "python" else word for word in argv]
    user = next((USERS[word] for word in argv if word in USERS), TESTER)
    with LOG.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *words,
            cwd=CHECKOUT,
            env={**environment(as_user(user, settings)), **more},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log if "BENCH_TOLD" not in more else asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        await _end(process)


@asynccontextmanager
async def server(settings: Settings, argv: Sequence[str], **more: str) -> AsyncIterator[int]:
    """Run a program that serves; yields its port once ``/readyz`` is answered with 200."""
    port = free_port()
    async with program(settings, argv, PORT=str(port), **more) as process:
        await wait_until_ready(process, port)
        yield port


async def wait_until_ready(process: asyncio.subprocess.Process, port: int) -> None:
    """Wait until ``/readyz`` is answered with 200; raises if the program ends before that."""
    async with asyncio.timeout(STARTING), aiohttp.ClientSession() as http:
        while True:
            with suppress(aiohttp.ClientError):
                async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    if answer.ok:
                        return
            check(process)
            await asyncio.sleep(0.05)


def check(process: asyncio.subprocess.Process) -> None:
    """Raise when a program has ended that should run."""
    if process.returncode is not None:
        raise RuntimeError(f"a program ended with {process.returncode}; see {LOG}")


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a program, kindly first, and its children."""
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(TimeoutError):
        async with asyncio.timeout(ENDING):
            await process.wait()
    # The group is ours: the program was made its leader.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def measured(pid: int, of: Callable[[psutil.Process], float]) -> float:
    """Add something up over a process and its children."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += of(process)
    return total


def cpu_of(process: psutil.Process) -> float:
    """Tell the CPU seconds that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def memory_of(process: psutil.Process) -> float:
    """Tell the resident memory of a process, MiB."""
    return float(process.memory_info().rss / 2**20)


def variables(**values: object) -> Mapping[str, str]:
    """Write variables of a program."""
    return {f"BENCH_{name.upper()}": str(value) for name, value in values.items()}
