"""One attempt at a batch: claim, handle, write the outbox, commit.

    [prepare, no transaction open] -> begin -> claim in the inbox -> handler(list)
    -> outbox rows of what it returned -> COMMIT -> replies, hints, caches

A batch that fails is divided until the guilty event stands alone and its neighbours are
through; a failure that names its events is divided at once.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from events.base import Event, now
from infra import inbox, outbox
from infra.context import Context
from infra.delivery import Received
from infra.errors import Failure, Outage, Permanent, Snooze
from infra.faults import Fault, blame, fault_of
from infra.message import message_of
from infra.resources import Resources, healthy
from infra.subscription import Subscription

CONFLICT_RETRIES = 5
# A suspected outage that a probe does not confirm is first tried again, then a bug.
AGAIN = (Fault.CONFLICT, Fault.SUSPECTED_OUTAGE)

# What became of an event: the error that it failed with, or None.
Verdicts = dict[Received, BaseException | None]


@dataclass(slots=True)
class Outcome:
    """Verdicts of a batch, which of its events were duplicates, and the replies to send."""

    verdicts: Verdicts = field(default_factory=dict)
    duplicates: set[Received] = field(default_factory=set)
    replies: list[tuple[Received, dict[str, Any]]] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        """Take in what became of another part of the batch."""
        self.verdicts.update(other.verdicts)
        self.duplicates |= other.duplicates
        self.replies += other.replies


@dataclass(frozen=True, slots=True)
class Attempt:
    """Runs batches of one subscription."""

    subscription: Subscription
    resources: Resources

    async def run(self, batch: Sequence[Received]) -> Outcome:
        """Give every event of the batch its verdict.

        Raises ``Outage`` when nothing can be said because infrastructure is gone.
        """
        conflicts = 0
        while True:
            try:
                return await self._once(batch)
            except Exception as error:
                fault = fault_of(error)
                if fault is Fault.OUTAGE or (
                    fault is Fault.SUSPECTED_OUTAGE and not await healthy(self.resources)
                ):
                    raise Outage(f"outage: {type(error).__name__}") from error
                if fault in AGAIN and conflicts < CONFLICT_RETRIES:
                    conflicts += 1
                    await asyncio.sleep(random.uniform(0.01, 0.1) * conflicts)  # noqa: S311 - jitter
                    continue
                return await self._divide(batch, error, fault)

    async def _divide(self, batch: Sequence[Received], error: Exception, fault: Fault) -> Outcome:
        guilty = _named(batch, error)
        if isinstance(error, Snooze) and not guilty:
            guilty = list(batch)
        if not guilty and len(batch) == 1:
            guilty = [batch[0]]
        if guilty:
            outcome = Outcome(verdicts=dict.fromkeys(guilty, blame(error, fault)))
            accused = set(guilty)
            parts = [[item for item in batch if item not in accused]]
        else:
            outcome = Outcome()
            half = len(batch) // 2
            parts = [list(batch[:half]), list(batch[half:])]
        for part in parts:
            if part:
                outcome.add(await self.run(part))
        return outcome

    async def _once(self, batch: Sequence[Received]) -> Outcome:
        outcome = Outcome()
        values: dict[Received, Any] = {item: item.event for item in batch}
        if self.subscription.prepare is not None:
            batch = await self._prepare(self.subscription.prepare, batch, values, outcome)
            if not batch:
                return outcome
        after: list[Callable[[], Awaitable[None]]] = []
        async with self.resources.engine.begin() as tx:
            claim = await inbox.claim(tx, self.subscription.queue, batch)
            caused = await self._handle(tx, claim.fresh, values, outcome, after)
            await outbox.add(tx, [message_of(event) for event in caused])
        _record(outcome, claim)
        if caused:
            await outbox.hint(self.resources.redis)
        for call in after:
            await call()
        return outcome

    async def _prepare(
        self,
        prepare: Callable[[list[Any], Resources], Awaitable[Sequence[Any]]],
        batch: Sequence[Received],
        values: dict[Received, Any],
        outcome: Outcome,
    ) -> list[Received]:
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
        fresh: list[Received],
        values: dict[Received, Any],
        outcome: Outcome,
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


def _match(
    accused: Sequence[Any], fresh: Sequence[Received], values: dict[Received, Any]
) -> list[Received]:
    """Find the deliveries of the events, or of the prepared values, that a handler named."""
    ids = {id(value) for value in accused}
    return [item for item in fresh if id(values[item]) in ids or id(item.event) in ids]


def _named(batch: Sequence[Received], error: BaseException) -> list[Received]:
    guilty = set(getattr(error, "guilty", ()))
    return [item for item in batch if item in guilty]


def _record(outcome: Outcome, claim: inbox.Claim) -> None:
    for item in (*claim.fresh, *claim.duplicates):
        outcome.verdicts[item] = None
    outcome.duplicates.update(claim.duplicates)
    for item in claim.reused:
        reason = "this source has used the same id for another event"
        outcome.verdicts[item] = Permanent(reason, code="ID_REUSED")
