"""Samples what every page shows, once for the whole process, and keeps the last five minutes.

A sample never fails: what a server that does not answer would have told is None in it.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.envelope import now
from infra.amqp.publisher import Publisher
from infra.backoff import sleep_until
from infra.errors import Outage
from infra.messaging.queue_counts import QueueCounts, get_counts
from infra.messaging.queue_overview import read_queue_overview
from infra.redis_errors import REDIS_ERRORS
from infra.storage.dead_letter_jobs import JobProgress, list_progress
from infra.storage.inbox_counts import count_handled
from infra.storage.suspects import Suspect, list_suspects
from infra.storage.webhook_counts import AcceptedWebhooks, read_accepted
from infra.web.database import Database
from schemas.queues import PauseSummary, QueueOverview
from workers.ops.alert import AlertList
from workers.ops.flow_counts import FlowCounts, read_flow_counts
from workers.ops.processes import ProcessMonitor, ProcessReport

INTERVAL = 2.0  # seconds
KEPT_SAMPLES = 150  # five minutes
RATE_SECONDS = 10.0  # over which a rate is a mean
MAX_SUSPECTS = 20
JOBS_SHOWN_FOR = timedelta(minutes=10)  # after their end
OUTBOX = text("""
    select count(*) filter (where parked_reason is null) as waiting,
           count(*) filter (where parked_reason is not null) as parked,
           coalesce(extract(epoch from now() - min(created_at)
                    filter (where parked_reason is null)), 0) as oldest
    from outbox
""")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OutboxState:
    """Rows that wait and rows that are parked; ``oldest`` is the age of the oldest, seconds."""

    waiting: int
    parked: int
    oldest: float


@dataclass(frozen=True, slots=True)
class Sample:
    """The state of the system at ``at`` (UTC); None for what is not known."""

    number: int = 0
    at: datetime = field(default_factory=now)
    overview: QueueOverview | None = None
    outbox: OutboxState | None = None
    broker: bool = False
    redis: bool = False
    handled: Mapping[str, int] | None = None  # in the last RATE_SECONDS, by queue
    suspects: Sequence[Suspect] = ()
    processes: Sequence[ProcessReport] = ()
    webhooks: Mapping[str, AcceptedWebhooks] | None = None  # by source
    counts: QueueCounts = field(default_factory=QueueCounts)
    flow: FlowCounts | None = None
    alerts: AlertList = field(default_factory=AlertList)
    jobs: Sequence[JobProgress] = ()  # of dead letters, that run or ended a moment ago

    @property
    def database(self) -> bool:
        """Whether Postgres answers."""
        return self.overview is not None

    @property
    def waiting(self) -> int | None:
        """Messages that wait in the queues; None when the relay has counted none."""
        counts = (
            [q.ready for q in self.overview.queues if q.ready is not None]
            if (self.overview)
            else []
        )
        return sum(counts) if counts else None

    @property
    def dead(self) -> int | None:
        """Open dead letters."""
        return None if self.overview is None else sum(q.dead for q in self.overview.queues)

    @property
    def pauses(self) -> Sequence[PauseSummary]:
        """What people have paused and breakers have stopped: queues, platforms, accounts."""
        if self.overview is None:
            return ()
        own = [queue.pause for queue in self.overview.queues if queue.pause is not None]
        return (*own, *self.overview.pauses)


class AlertJudge(Protocol):
    """Tells which alerts fire."""

    def judge(self, history: Sequence[Sample]) -> AlertList:
        """Return the alerts of the newest sample, the last of ``history``."""
        ...


class Sampler:
    """Takes a sample every two seconds; the newest is ``current``."""

    def __init__(
        self,
        database: Database,
        redis: Redis,
        publisher: Publisher,
        processes: ProcessMonitor,
        alerts: AlertJudge,
    ) -> None:
        """Start without samples."""
        self._processes = processes
        self._alerts = alerts
        self._database = database
        self._redis = redis
        self._publisher = publisher
        self._fresh = asyncio.Condition()
        self._taking = asyncio.Lock()
        self._ended = False
        self.history: deque[Sample] = deque(maxlen=KEPT_SAMPLES)

    @property
    def current(self) -> Sample:
        """The newest sample; an empty one before the first."""
        return self.history[-1] if self.history else Sample()

    async def run(self, stop: asyncio.Event) -> None:
        """Take samples until ``stop`` is set; a wait for a sample then ends at once."""
        while not stop.is_set():
            await self.take()
            await sleep_until(stop, INTERVAL)
        self._ended = True
        async with self._fresh:
            self._fresh.notify_all()

    async def take(self) -> Sample:
        """Take one sample now; after a write it shows what was written."""
        async with self._taking:
            redis, counts = await self._ask_redis()
            sample = Sample(
                self.current.number + 1,
                broker=self._publisher.connected,
                redis=redis,
                processes=self._processes.current,
                counts=counts,
            )
            with contextlib.suppress(Outage):
                known = await self._database.read(_read_database, counts)
                sample = replace(sample, **known)
            sample = replace(sample, at=now())
            sample = replace(sample, alerts=self._alerts.judge([*self.history, sample]))
            self.history.append(sample)
        async with self._fresh:
            self._fresh.notify_all()
        return sample

    async def next_after(self, number: int, seconds: float) -> Sample:
        """Wait for a newer sample than ``number``, or ``seconds`` at most; returns the newest."""
        try:
            async with asyncio.timeout(seconds), self._fresh:
                await self._fresh.wait_for(lambda: self._ended or self.current.number > number)
        except TimeoutError:
            pass
        return self.current

    async def _ask_redis(self) -> tuple[bool, QueueCounts]:
        try:
            await self._redis.ping()
        except REDIS_ERRORS:
            return False, QueueCounts()
        return True, await get_counts(self._redis)


async def _read_database(tx: AsyncConnection, counts: QueueCounts) -> Mapping[str, Any]:
    """Read the fields of a sample that Postgres knows."""
    row = (await tx.execute(OUTBOX)).one()
    overview = await read_queue_overview(tx, counts)
    paused = {queue.name for queue in overview.queues if queue.pause is not None}
    return {
        "outbox": OutboxState(row.waiting, row.parked, float(row.oldest)),
        "handled": await count_handled(tx, RATE_SECONDS),
        "suspects": await list_suspects(tx, MAX_SUSPECTS),
        "webhooks": await read_accepted(tx, now()),
        "overview": overview,
        "flow": await read_flow_counts(tx, RATE_SECONDS, paused),
        "jobs": await list_progress(tx, now() - JOBS_SHOWN_FOR),
    }
