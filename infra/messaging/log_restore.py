"""Gives a database that was put back the effects that it lacks, from the event log.

    log -> stretches -> registrations, webhooks
                     -> campaigns, in the order of the log (``infra.messaging.restore_order``)
                     -> metrics, beside the campaigns of the next stretch
                     -> position in Postgres

Each queue's own processor runs over the events in the order of the log, in this process. A stretch
is behind the position once all of its effects, retries and dead letters are committed: a restore
that was killed goes on there, and the inbox drops what it repeats. Nothing is published but what
the events cause, through the outbox and under the ids that it had (``Event.caused_by``).
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from events.envelope import Event
from infra.amqp import topology
from infra.amqp.connection import BrokerConnection
from infra.errors import Permanent
from infra.messaging.authorization import PublisherAuthorizer
from infra.messaging.decoder import DecodedDelivery, decode_delivery
from infra.messaging.delivery import Delivery
from infra.messaging.destination_queues import find_destination_queues
from infra.messaging.event_log import LogEntry, LogStart, read_log
from infra.messaging.restore_order import VERSION_FACTS, CampaignPart, divide_by_campaign
from infra.messaging.restored_queue import RestoredQueue
from infra.messaging.routing_key import parse_event_type
from infra.messaging.subscription import AnySubscription
from infra.resources import Resources
from infra.storage.campaign_versions import raise_desired_versions, raise_versions
from infra.storage.log_positions import save_position

READER = "restore"  # in log_positions
STRETCH = 2000  # events that are read at a time
AHEAD = 2  # stretches that are read while one is restored
QUIET_SECONDS = 0.3  # after which the broker is asked whether that is the end
COMMANDS, REPORTS = "campaigns.apply", "campaigns.record"
# Metrics need the campaigns and the platforms' ids that come before them in the log.
LAST = "metrics.record"
FACTS: Mapping[str, type[Event]] = {fact.event_type(): fact for fact in VERSION_FACTS}

# Called after each stretch with its entries.
OnProgress = Callable[[Sequence[LogEntry]], None]


@dataclass(slots=True)
class Stretch:
    """Decoded events of a part of the log, by queue; campaigns' also in the order of the log."""

    entries: Sequence[LogEntry]
    by_queue: dict[str, list[DecodedDelivery]] = field(default_factory=dict)
    parts: list[CampaignPart] = field(default_factory=list)


class LogRestore:
    """Restores one database; ``queues`` count what became of the events."""

    def __init__(
        self,
        resources: Resources,
        subscriptions: Sequence[AnySubscription],
        *,
        has_filed: bool,
        progress: OnProgress,
    ) -> None:
        """Take the subscriptions of queues whose effects are in the database alone.

        ``has_filed``: there may be dead letters of the events in the database.
        """
        self.queues: dict[str, RestoredQueue] = {
            s.queue: RestoredQueue(s, resources)
            for s in subscriptions
            if s.queue in topology.DATABASE_QUEUES
        }
        self._resources = resources
        self._has_filed = has_filed
        self._progress = progress
        self._authorizer = PublisherAuthorizer(COMMANDS, resources.settings, resources.publishers)

    async def run(self, link: BrokerConnection, start: LogStart, until: int) -> None:
        """Restore from ``start`` to the offset ``until``; raises ``Outage``."""
        finishing: asyncio.Task[None] | None = None
        try:
            async with aclosing(self._read(link, start, until)) as stretches:
                async for stretch in stretches:
                    await self._restore_first(stretch)
                    if finishing is not None:
                        await finishing
                    finishing = asyncio.create_task(self._finish(stretch))
            if finishing is not None:
                await finishing
        finally:
            if finishing is not None and not finishing.done():
                finishing.cancel()
                with suppress(asyncio.CancelledError):
                    await finishing

    async def _read(
        self, link: BrokerConnection, start: LogStart, until: int
    ) -> AsyncGenerator[Stretch, None]:
        limit = self._resources.settings.broker_timeout
        reading = read_log(
            link,
            start,
            timeout=limit,
            until=until,
            empty_after=QUIET_SECONDS,
            batch=STRETCH,
            prefetch=(1 + AHEAD) * STRETCH,
        )
        async with aclosing(reading) as batches:
            async for entries in batches:
                yield await self._decode(entries)

    async def _decode(self, entries: Sequence[LogEntry]) -> Stretch:
        """Decode a stretch for each queue; what cannot be decoded has failed."""
        wanted: dict[str, list[Delivery]] = {name: [] for name in self.queues}
        order: list[tuple[str, Delivery]] = []
        for entry in entries:
            delivery = entry.delivery
            for name in find_destination_queues(delivery):
                if name in wanted:
                    wanted[name].append(delivery)
                    order.append((name, delivery))
            if parse_event_type(delivery.key) in FACTS:
                order.append(("", delivery))
        stretch = Stretch(entries)
        for name, deliveries in wanted.items():
            queue = self.queues[name]
            work = await queue.decode(deliveries, has_filed=self._has_filed)
            await queue.fail(work.result.failed)
            stretch.by_queue[name] = [item for part in work.parts for item in part]
        stretch.parts = divide_by_campaign(self._order_campaigns(stretch, order))
        return stretch

    def _order_campaigns(
        self, stretch: Stretch, order: Sequence[tuple[str, Delivery]]
    ) -> list[DecodedDelivery]:
        """Put commands, reports and the facts that tell versions into the order of the log."""
        decoded = {
            (name, item.delivery.tag): item
            for name in (COMMANDS, REPORTS)
            for item in stretch.by_queue.pop(name, ())
        }
        found = [
            self._read_fact(delivery) if not name else decoded.get((name, delivery.tag))
            for name, delivery in order
        ]
        return [item for item in found if item is not None]

    def _read_fact(self, delivery: Delivery) -> DecodedDelivery | None:
        """Decode what Adrelay itself has published; None for anything else."""
        if not self._authorizer.is_internal(delivery):
            return None
        with suppress(Permanent):
            return decode_delivery(delivery, FACTS, self._resources.settings.max_event_bytes)
        return None

    async def _restore_first(self, stretch: Stretch) -> None:
        """Restore everything of a stretch but what comes last."""
        async with asyncio.TaskGroup() as tasks:
            for name, items in stretch.by_queue.items():
                if name != LAST:
                    tasks.create_task(self.queues[name].run(items))
        for part in stretch.parts:
            await self._restore_campaigns(part)

    async def _restore_campaigns(self, part: CampaignPart) -> None:
        await self._run(COMMANDS, part.commands)
        if part.saved:
            async with self._resources.engine.begin() as tx:
                await raise_desired_versions(tx, part.saved)
        await self._run(REPORTS, part.reports)
        if part.changed:
            async with self._resources.engine.begin() as tx:
                await raise_versions(tx, part.changed)

    async def _finish(self, stretch: Stretch) -> None:
        await self._run(LAST, stretch.by_queue.get(LAST, []))
        async with self._resources.engine.begin() as tx:
            await save_position(tx, READER, stretch.entries[-1].offset + 1)
        self._progress(stretch.entries)

    def _run(self, name: str, items: Sequence[DecodedDelivery]) -> Awaitable[None]:
        queue = self.queues.get(name)
        return queue.run(items) if queue is not None else _nothing()


async def _nothing() -> None:
    return None
