"""Attempts at a batch: claim, handle, write the outbox, commit.

    [prepare, no transaction open] -> begin -> claim in the inbox -> handler(list)
    -> outbox rows of what it returned -> COMMIT -> replies, hints, caches

A batch that fails on data or in our code is divided until the failing event stands alone and
its neighbours are through; a failure that names its events is divided at once. A batch that
meets a conflict is run again first. All of it is bounded in time: what is left then waits with
the consumer, which may go on with the same ``Work``.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from events.envelope import Event, now
from infra.amqp.message import build_message
from infra.errors import Failure, Outage, Permanent, Snooze, Transient
from infra.messaging import inbox, outbox
from infra.messaging.context import Context
from infra.messaging.delivery import DecodedDelivery
from infra.messaging.error_classifier import ErrorKind, classify_error, describe_error, to_failure
from infra.messaging.subscription import Subscription
from infra.resources import Resources, healthy

BATCH_SECONDS = 60.0  # of work on a batch before the rest of it has to wait
CONFLICT_RETRIES = 5  # of the same part
CONFLICT_SECONDS = 15.0  # that the same part is run again
CONFLICT_SNOOZE_SECONDS = 30.0
# A suspected outage that a probe does not confirm is first tried again, then ours.
RETRY_IN_PLACE = (ErrorKind.CONFLICT, ErrorKind.SUSPECTED_OUTAGE)

# What became of an event: the error that it failed with, or None.
Verdicts = dict[DecodedDelivery, BaseException | None]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class BatchResult:
    """Verdicts of a batch, which of its events were duplicates, and the replies to send."""

    verdicts: Verdicts = field(default_factory=dict)
    duplicates: set[DecodedDelivery] = field(default_factory=set)
    replies: list[tuple[DecodedDelivery, dict[str, Any]]] = field(default_factory=list)

    def add(self, other: "BatchResult") -> None:
        """Take in what became of another part of the batch."""
        self.verdicts.update(other.verdicts)
        self.duplicates |= other.duplicates
        self.replies += other.replies


@dataclass(slots=True)
class Work:
    """A batch under way: the parts that have no verdict yet, the next one last.

    ``conflicts`` are events that met a conflict alone, each time; what it means depends on
    whether any other event gets through.
    """

    parts: list[list[DecodedDelivery]]
    outcome: BatchResult = field(default_factory=BatchResult)
    conflicts: list[DecodedDelivery] = field(default_factory=list)
    succeeded: bool = False


@dataclass(frozen=True, slots=True)
class BatchProcessor:
    """Runs batches of one subscription, each for ``seconds`` at a time."""

    subscription: Subscription
    resources: Resources
    seconds: float = BATCH_SECONDS

    async def run(self, work: Work) -> BatchResult:
        """Give every event of the batch its verdict.

        Raises ``Outage`` when nothing can be said about what is left in ``work`` because
        infrastructure is gone or holds it up; it can be run again.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + self.seconds
        while work.parts:
            if clock() > until:
                raise Outage(f"a batch is not through after {self.seconds:.0f} s")
            parts = await self._run_part(work.parts[-1], work)
            work.parts[-1:] = reversed(parts)
        for item in work.conflicts:
            work.outcome.verdicts[item] = _verdict_of_conflict(work)
        work.conflicts.clear()
        return work.outcome

    async def _run_part(
        self, part: list[DecodedDelivery], work: Work
    ) -> list[list[DecodedDelivery]]:
        """Run a part of a batch; gives the parts, in their order, that have to be run instead."""
        clock = asyncio.get_running_loop().time
        until = clock() + CONFLICT_SECONDS
        tries = 0
        while True:
            try:
                outcome = await self._once(part)
            except Exception as error:
                fault = classify_error(error)
                if fault is ErrorKind.OUTAGE or (
                    fault is ErrorKind.SUSPECTED_OUTAGE and not await healthy(self.resources)
                ):
                    raise Outage(
                        str(error) if isinstance(error, Outage) else describe_error(error)
                    ) from error
                if fault in RETRY_IN_PLACE and tries < CONFLICT_RETRIES and clock() < until:
                    tries += 1
                    await asyncio.sleep(random.uniform(0.01, 0.1) * tries)  # noqa: S311 - jitter
                    continue
                return _divide(part, error, fault, work)
            work.outcome.add(outcome)
            work.succeeded |= None in outcome.verdicts.values()
            return []

    async def _once(self, batch: Sequence[DecodedDelivery]) -> BatchResult:
        outcome = BatchResult()
        values: dict[DecodedDelivery, Any] = {item: item.event for item in batch}
        if self.subscription.prepare is not None:
            batch = await self._prepare(self.subscription.prepare, batch, values, outcome)
            if not batch:
                return outcome
        after: list[Callable[[], Awaitable[None]]] = []
        async with self.resources.engine.begin() as tx:
            claim = await inbox.claim(tx, self.subscription.queue, batch)
            caused = await self._handle(tx, claim.fresh, values, outcome, after)
            await outbox.add(tx, [build_message(event) for event in caused])
        _record(outcome, claim)
        if caused:
            after.insert(0, self._hint)
        for call in after:
            await _try(call)
        return outcome

    async def _hint(self) -> None:
        await outbox.notify(self.resources.redis)

    async def _prepare(
        self,
        prepare: Callable[[list[Any], Resources], Awaitable[Sequence[Any]]],
        batch: Sequence[DecodedDelivery],
        values: dict[DecodedDelivery, Any],
        outcome: BatchResult,
    ) -> list[DecodedDelivery]:
        async with self.resources.engine.connect() as connection:
            seen = await inbox.unseen(connection, self.subscription.queue, batch)
        prepared = await prepare([item.event for item in seen.fresh], self.resources)
        ready = [*seen.duplicates, *seen.reused]
        for item, value in zip(seen.fresh, prepared, strict=True):
            if isinstance(value, Failure):
                outcome.verdicts[item] = value
            else:
                values[item] = value
                ready.append(item)
        return ready

    async def _handle(
        self,
        tx: AsyncConnection,
        fresh: list[DecodedDelivery],
        values: dict[DecodedDelivery, Any],
        outcome: BatchResult,
        after: list[Callable[[], Awaitable[None]]],
    ) -> Sequence[Event]:
        if not fresh:
            return ()
        by_event = {id(item.event): item for item in fresh}

        def reply(event: Event, answer: dict[str, Any]) -> None:
            outcome.replies.append((by_event[id(event)], answer))

        at = now()

        def arrived(event: Event) -> datetime:
            return by_event[id(event)].delivery.first_failed or at

        context = Context(self.resources, tx, at, reply, after.append, arrived)
        try:
            return await self.subscription.handler([values[item] for item in fresh], context)
        except Failure as failure:
            if failure.events:
                failure.guilty = _match(failure.events, fresh, values)
            raise


def _divide(
    part: list[DecodedDelivery], error: Exception, fault: ErrorKind, work: Work
) -> list[list[DecodedDelivery]]:
    """Give failed events their verdict, and divide the others of a part that failed."""
    failed = _named(part, error)
    if not failed and (isinstance(error, Snooze) or len(part) == 1):
        failed = part
    if not failed:
        half = len(part) // 2
        return [part[:half], part[half:]]
    if fault is ErrorKind.CONFLICT:
        work.conflicts += failed
    else:
        work.outcome.verdicts.update(dict.fromkeys(failed, to_failure(error, fault)))
    accused = set(failed)
    rest = [item for item in part if item not in accused]
    return [rest] if rest else []


def _verdict_of_conflict(work: Work) -> Failure:
    """Judge an event that met a conflict alone: it costs an attempt if others got through.

    Otherwise something holds up all of them, and waiting costs nothing.
    """
    reason = "a lock, a timeout or another transaction stands in the way each time"
    if work.succeeded:
        return Transient(reason, code="CONFLICT")
    return Snooze(reason, CONFLICT_SNOOZE_SECONDS)


async def _try(call: Callable[[], Awaitable[None]]) -> None:
    """Do what comes after a commit: its failure is nobody's but its own."""
    try:
        await call()
    except Exception as error:
        log.warning("a step after a commit failed", exc_info=error)


def _match(
    accused: Sequence[Any], fresh: Sequence[DecodedDelivery], values: dict[DecodedDelivery, Any]
) -> list[DecodedDelivery]:
    """Find the deliveries of the events, or of the prepared values, that a handler named."""
    ids = {id(value) for value in accused}
    return [item for item in fresh if id(values[item]) in ids or id(item.event) in ids]


def _named(batch: Sequence[DecodedDelivery], error: BaseException) -> list[DecodedDelivery]:
    named = set(getattr(error, "guilty", ()))
    return [item for item in batch if item in named]


def _record(outcome: BatchResult, claim: inbox.Claim) -> None:
    for item in (*claim.fresh, *claim.duplicates):
        outcome.verdicts[item] = None
    outcome.duplicates.update(claim.duplicates)
    for item in claim.reused:
        reason = "this source has used the same id for another event"
        outcome.verdicts[item] = Permanent(reason, code="ID_REUSED")
