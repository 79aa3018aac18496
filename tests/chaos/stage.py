"""Real servers for one worker that dies and one that takes its place, and what is seen of it."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractQueue
from sqlalchemy import text

from events.envelope import Event
from infra.amqp import topology
from infra.amqp.connection import BrokerConnection
from infra.amqp.message import build_message
from infra.messaging.consumer import Consumer
from infra.messaging.outbox_relay import relay_once
from infra.messaging.subscription import AnySubscription
from infra.resources import Resources
from infra.sandbox.app import DIALECTS, SandboxApp
from infra.sandbox.server import open_sandbox
from infra.settings import Settings
from tests.chaos.dying import VARIABLE, trace_of
from tests.infra.ledger import count, depth, until
from tests.processes import Process, running

RETRIES = tuple(map(topology.retry_exchange, topology.RETRY_TIERS))


@dataclass
class Stage:
    """Settings that lead to a quiet sandbox, a queue that sees the whole bus, what was sent."""

    settings: Settings
    resources: Resources
    broker: AbstractConnection
    channel: AbstractChannel
    spy: AbstractQueue
    platforms: SandboxApp
    sent: list[Event] = field(default_factory=list)

    async def listen(self, exchange: str) -> str:
        """Make a queue that sees what passes an exchange; gives its name."""
        return (await _spy(self.channel, exchange)).name

    async def publish(self, events: Sequence[Event]) -> None:
        """Publish as upstream systems and other workers do."""
        verdicts = await self.resources.publisher.publish_all([build_message(e) for e in events])
        assert verdicts == [None] * len(events)
        self.sent += events

    async def rows(self, sql: str, **values: Any) -> list[Any]:
        async with self.resources.engine.begin() as tx:
            result = await tx.execute(text(sql), values)
            return list(result) if result.returns_rows else []

    async def count(self, sql: str) -> int:
        return await count(self.resources.engine, sql)

    async def operations(self, state: str) -> list[str]:
        """List the operations, all of which have come to this state."""
        rows = await self.rows("select id, state from operations")
        assert all(row.state == state for row in rows)
        return sorted(row.id for row in rows)

    async def handled(self, queue: str) -> int:
        """Count the events that the inbox says were handled from a queue."""
        query = "select count(*) from inbox where consumer = :queue"
        return int((await self.rows(query, queue=queue))[0][0])

    async def waiting(self, queue: str) -> int:
        """Count the messages that lie in a queue or wait to come back to one."""
        return sum([await depth(self.broker, name) for name in (queue, *RETRIES)])

    async def struck(
        self, module: str, point: str, nth: int, number: signal.Signals = signal.SIGKILL
    ) -> None:
        """Run a worker until it is struck at a point, and see that it was there that it ended."""
        async with self.dying(module, point, nth, number) as process:
            code = await process.ended(30)
            assert trace_of(point, nth) in process.output, process.output[-2000:]
            assert code == (-signal.SIGKILL if number is signal.SIGKILL else 0), process.output

    @asynccontextmanager
    async def dying(
        self, module: str, point: str, nth: int, number: signal.Signals, **changes: Any
    ) -> AsyncIterator[Process]:
        """Start a worker that will be struck."""
        own = self.settings.model_copy(update=changes)
        aimed = {VARIABLE: f"{module} {point} {nth} {number.name}"}
        process = Process("tests.chaos.dying", own, 0, **aimed)
        await process.start()
        try:
            yield process
        finally:
            if process.process.returncode is None:
                await process.kill()
            process.forget()

    @asynccontextmanager
    async def healthy(self, module: str) -> AsyncIterator[Process]:
        """Run a worker that ends well."""
        async with running(module, self.settings) as process:
            yield process
            assert await process.stop() == 0, process.output

    async def relay(self) -> None:
        """Carry the outbox to the bus until it is empty."""
        async with asyncio.timeout(20):
            while await self.count("select count(*) from outbox"):
                await relay_once(self.resources)

    async def consume(self, subscription: AnySubscription, handled: int) -> None:
        """Read a queue until so many events are handled and nothing is left."""
        link = BrokerConnection(self.settings, "test:consume")
        consumer = Consumer(subscription, self.resources, link, asyncio.Lock())
        stop = asyncio.Event()
        task = asyncio.create_task(consumer.run(stop))
        try:
            await until(lambda: self.came_to(subscription.queue, handled))
        finally:
            stop.set()
            await task
            await link.close()

    async def came_to(self, queue: str, handled: int) -> bool:
        """Tell whether so many events are handled and nothing is left to be handled."""
        return not await self.waiting(queue) and await self.handled(queue) == handled

    async def seen(self) -> dict[str, list[Any]]:
        """Take what was on the bus, by event id; the same id always says the same."""
        found: dict[str, list[Any]] = {}
        while (message := await self.spy.get(fail=False, no_ack=True, timeout=10)) is not None:
            event = orjson.loads(message.body)
            found.setdefault(event["id"], []).append(event)
        assert all(event == events[0] for events in found.values() for event in events)
        return found

    async def caused(self) -> list[Any]:
        """Take the events that were caused: each was on the bus once."""
        sent = {event.id for event in self.sent}
        found = {id_: events for id_, events in (await self.seen()).items() if id_ not in sent}
        assert all(len(events) == 1 for events in found.values())
        return [event for (event,) in found.values()]

    async def caused_once(self, *types: str, by: Sequence[Event]) -> list[Any]:
        """Take the events that were caused: each sender's event caused one of each type."""
        caused = await self.caused()
        expected = Counter((kind, event.id) for kind in types for event in by)
        found = Counter((event["type"], event["causationid"]) for event in caused)
        assert found == expected, f"too many: {found - expected}, too few: {expected - found}"
        return caused


@asynccontextmanager
async def open_stage(
    settings: Settings, resources: Resources, broker: AbstractConnection
) -> AsyncIterator[Stage]:
    """Open a sandbox and a spy, for settings whose servers are empty."""
    quiet = {"port": 0, "sandbox_metrics_seconds": 0, "sandbox_status_seconds": 0}
    async with (
        open_sandbox(settings.model_copy(update=quiet)) as sandbox,
        broker.channel() as channel,
    ):
        spy = await _spy(channel, topology.EVENTS_EXCHANGE)
        urls = {f"{name}_url": f"{sandbox.url}/{name}" for name in DIALECTS}
        # The next worker waits no longer than this for the leases of the dead.
        own = settings.model_copy(update={**urls, "outbox_lease": 1.0})
        yield Stage(own, resources, broker, channel, spy, sandbox.app)


async def _spy(channel: AbstractChannel, exchange: str) -> AbstractQueue:
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(exchange, "#")
    return queue
