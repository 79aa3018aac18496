"""The system under chaos: an ingress, a relay, two workers; what can be seen of it from outside."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import orjson
import psutil
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from yarl import URL

from infra.amqp import topology
from infra.amqp.publisher import Publisher
from infra.background import BackgroundTasks
from infra.commands.migrate import connect
from infra.settings import Settings
from infra.storage.api_keys import generate_api_key, insert_api_key
from infra.storage.engine import open_engine
from infra.storage.users import UserRow, insert_users
from schemas.users import User
from tests.chaos.history import Answer, History
from tests.chaos.invariants import DeadLetter, Findings, Footprint
from tests.chaos.load import Load
from tests.chaos.patience import Patience
from tests.chaos.servers import Servers
from tests.chaos.worker import CREATE, CREATE_NEWEST
from tests.infra.ledger import QUEUE, depth
from tests.processes import Process
from tests.services import TESTER, url_as

CAUSED = "chaos.caused"
LOOK = 0.1  # seconds between two looks at what is left
MODULES = {
    "web": "workers.ingress",
    "relay": "workers.relay",
    "one": "tests.chaos.worker",
    "two": "tests.chaos.worker",
}
# Short limits, so that a fault is met and left behind in a test's time.
LIMITS = {"statement_timeout": 3.0, "broker_timeout": 4.0, "outbox_lease": 5.0, "heartbeat": 5}
ROW = "select coalesce(event_id, message_id), error_class, reason, attempts, first_failed_at,"
DEAD = f"{ROW} last_failed_at from dead_letters"
DEAD_IDS = "select coalesce(event_id, message_id), '' from dead_letters"
LEDGER = "select event_id, digest from chaos_ledger"


class World:
    """Processes that run, the load, and every look at them."""

    def __init__(
        self, settings: Settings, servers: Servers, processes: Mapping[str, Process], load: Load
    ) -> None:
        self.settings = settings
        self.servers = servers
        self.processes = processes
        self.load = load
        self.history = load.history
        self.aside: set[str] = set()
        self.caused: Counter[str] = Counter()
        self.base: dict[str, Footprint] = {}
        self.longest = 0.0  # seconds of the longest fault so far
        url = open_engine(settings).url
        # Nothing of the tester is pooled, so no fault is met in his own connections.
        self.engine: AsyncEngine = create_async_engine(url, poolclass=NullPool)

    @property
    def vhost(self) -> str:
        return self.settings.rabbitmq_url.get_secret_value().rpartition("/")[2]

    async def rows(self, sql: str, **values: Any) -> list[Any]:
        async with self.engine.begin() as tx:
            result = await tx.execute(text(sql), values)
            return list(result) if result.returns_rows else []

    async def count(self, sql: str) -> int:
        return int((await self.rows(sql))[0][0])

    @asynccontextmanager
    async def broker(self) -> AsyncIterator[AbstractConnection]:
        url = url_as(TESTER, self.settings.rabbitmq_url)
        async with await connect(url) as connection:
            yield connection

    async def applied(self, *ids: str) -> bool:
        """Tell whether all of these events have taken effect."""
        found = await self.rows(
            "select count(distinct event_id) from chaos_ledger where event_id = any(:ids)",
            ids=list(ids),
        )
        return int(found[0][0]) == len(ids)

    async def waiting(self) -> dict[str, int]:
        """Count what lies in queues that must be empty in the end."""
        names = [*topology.WORK_QUEUE_NAMES, *map(topology.retry_exchange, topology.RETRY_TIERS)]
        names += map(topology.dead_queue, topology.WORK_QUEUE_NAMES)
        async with self.broker() as broker:
            return {name: await depth(broker, name) for name in names}

    async def drained(self, seconds: float) -> None:
        """Wait until nothing is on its way any more, however much there is.

        Fails, and says what is left, once nothing has reached its end for ``seconds``.
        """
        patience = Patience(seconds)
        while left := await self._left():
            if not patience.lasts(sum(left.values())):
                found = {
                    **left,
                    "in hand": await self._in_hand(),
                    "such as": await self._missing(5),
                }
                raise AssertionError(f"nothing drained in {seconds:.0f} s: {found}")
            await asyncio.sleep(LOOK)

    async def _left(self) -> dict[str, int]:
        """Count, by where it is, what has not reached its end."""
        left = {
            "outbox": await self.count("select count(*) from outbox"),
            **await self.waiting(),
            "without an end": len(await self._missing()),
        }
        return {place: count for place, count in left.items() if count}

    async def _missing(self, most: int | None = None) -> list[str]:
        """List accepted events that have no end yet."""
        accepted = {sent.id for sent in self.history.having(Answer.OK)} - self.aside
        ends = {row[0] for row in await self.rows(f"{LEDGER} union all {DEAD_IDS}")}
        return sorted(accepted - ends)[:most]

    async def nothing_in_hand(self) -> bool:
        """Tell whether every delivery is acknowledged; the management API is seconds late."""
        return not await self._in_hand()

    async def _in_hand(self) -> dict[str, int]:
        queues = await asyncio.to_thread(
            self.servers.services.operator.call, "GET", "queues", self.vhost
        )
        held = {queue["name"]: queue.get("messages_unacknowledged", 1) for queue in queues}
        return {name: count for name, count in held.items() if count}

    @asynccontextmanager
    async def counting_caused(self) -> AsyncIterator[None]:
        """Take the caused events off their queue as they come, for the length of a block."""

        async def count(message: AbstractIncomingMessage) -> None:
            self.caused[causation_of(message.body)] += 1

        async with self.broker() as broker, broker.channel() as channel:
            queue = await channel.get_queue(CAUSED)
            tag = await queue.consume(count, no_ack=True, timeout=10)
            yield
            await queue.cancel(tag, timeout=10)

    async def take_caused(self) -> None:
        """Take the caused events off their queue; each names the event that it came from."""
        async with self.broker() as broker, broker.channel() as channel:
            queue = await channel.get_queue(CAUSED)
            while (message := await queue.get(fail=False, timeout=10)) is not None:
                self.caused[causation_of(message.body)] += 1
                await message.ack()

    def footprints(self) -> dict[str, Footprint]:
        found = {}
        ports = {URL(url).port for url in self.settings.rabbitmq_url.get_secret_value().split()}
        for name, process in self.processes.items():
            seen = psutil.Process(process.process.pid)
            connections = [
                socket
                for socket in seen.net_connections("tcp")
                if socket.raddr and socket.raddr.port in ports
            ]
            found[name] = Footprint(seen.memory_info().rss, seen.num_fds(), len(connections))
        return found

    def keep_logs(self) -> Path:
        """Write what the processes have said, and how the queues stand, beside the history."""
        folder = self.history.file.parent
        with suppress(OSError):
            queues = self.servers.services.operator.call("GET", "queues", self.vhost)
            (folder / "queues.json").write_bytes(orjson.dumps(queues))
        for name, process in self.processes.items():
            (folder / f"{name}.log").write_text(process.output)
        return folder

    async def findings(self, recovery: float, patience: float) -> Findings:
        """Look at everything, once."""
        await self.take_caused()
        ledger = await self.rows(LEDGER)
        newest = await self.rows("select key, version from chaos_newest")
        ended = [n for n, p in self.processes.items() if p.process.returncode is not None]
        return Findings(
            history=self.history,
            applied=Counter(row[0] for row in ledger),
            digests={row[0]: row[1] for row in ledger},
            newest={row[0]: row[1] for row in newest},
            dead=[DeadLetter(*row) for row in await self.rows(DEAD)],
            caused=self.caused,
            aside=self.aside,
            waiting=await self.waiting(),
            outbox=await self.count("select count(*) from outbox"),
            recovery=recovery,
            patience=patience,
            longest=self.longest,
            before=self.base,
            after=self.footprints() if not ended else {},
            ended=tuple(ended),
        )


def causation_of(body: bytes) -> str:
    return str(orjson.loads(body)["causationid"])


@asynccontextmanager
async def open_world(
    settings: Settings, servers: Servers, folder: Path, **variables: str
) -> AsyncIterator[World]:
    """Start the system and the load's clients; all is ready when the block begins.

    ``variables`` are the processes' own, beside the settings.
    """
    own = settings.model_copy(update=LIMITS)
    processes = {name: Process(module, own, 0, **variables) for name, module in MODULES.items()}
    history = History(folder / "history.jsonl")
    base = f"http://127.0.0.1:{processes['web'].port}"
    async with (
        Publisher(own, "load", BackgroundTasks()) as publisher,
        aiohttp.ClientSession(base, timeout=aiohttp.ClientTimeout(total=8)) as http,
    ):
        load = Load(history, publisher, http, await prepare(own))
        world = World(own, servers, processes, load)
        await asyncio.gather(*(process.start() for process in processes.values()))
        try:
            await asyncio.gather(*(process.ready(60) for process in processes.values()))
            yield world
        finally:
            for process in processes.values():
                if process.process.returncode is None:
                    await process.kill()
                process.forget()


async def prepare(settings: Settings) -> str:
    """Make the ledger, a queue that sees what is caused, and an API key for the load."""
    engine = open_engine(settings)
    async with engine.begin() as tx:
        await tx.execute(text(CREATE))
        await tx.execute(text(CREATE_NEWEST))
        key = await add_publisher(tx)
    await engine.dispose()
    broker = await connect(url_as(TESTER, settings.rabbitmq_url))
    async with broker, broker.channel() as channel:
        queue = await channel.declare_queue(
            CAUSED, durable=True, arguments={"x-queue-type": "quorum"}
        )
        await queue.bind(topology.EVENTS_EXCHANGE, "campaign.metrics_recorded.v1.#")
        assert await depth(broker, QUEUE) == 0
    return key


async def add_publisher(tx: AsyncConnection) -> str:
    """Make an API key that may publish everything for ``urn:test``."""
    user = User(id=uuid4(), email=f"{uuid4().hex}@example.com", role="manager")
    key = generate_api_key()
    await insert_users(tx, [UserRow(user, "no password")])
    scopes, sources = ["events:publish:*"], ["urn:test"]
    await insert_api_key(tx, key, name="load", owner_id=user.id, scopes=scopes, sources=sources)
    return key.key
