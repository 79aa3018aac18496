"""However workers interleave, the platform ends up with the last desired state.

A test case is a random mix of commands, of sync workers that begin, are suspended beyond their
leases, finish or die, and of results that arrive late and out of order. When nothing is left to do,
the platform holds the newest version of the campaign and no other, or none if it was deleted.
"""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from events import (
    CampaignDeleted,
    CampaignSaved,
    CampaignSynced,
    CampaignSyncRejected,
    CampaignSyncRequested,
)
from events.envelope import Event, decode
from handlers.campaigns.handlers import apply_commands, apply_platform_updates
from handlers.sync.handlers import push_campaigns, sync_campaigns
from infra.errors import Failure
from infra.resources import Resources
from infra.storage.campaigns import CampaignRow, lock_campaigns
from tests.handlers.platform_state import Book, Frozen
from tests.handlers.processing import handled
from tests.handlers.samples import delete, put, saved, stored, update

TRIGGERS = (CampaignSaved, CampaignDeleted, CampaignSyncRequested)
SYNC_RESULTS = (CampaignSynced, CampaignSyncRejected)


@dataclass
class Worker:
    """A sync worker in the middle of its push."""

    trigger: Event
    thawed: asyncio.Event
    task: asyncio.Task[list[Any]]
    replaced: bool = False  # its trigger was redelivered to another worker


@dataclass
class Lifecycle:
    """One campaign, the undelivered events about it, and the workers that push it."""

    world: Resources
    book: Book
    campaign: CampaignRow
    triggers: list[Event] = field(default_factory=list)
    updates: list[Event] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    commands: int = 0

    def take(self, events: list[Event]) -> None:
        """Add events to the undelivered ones."""
        self.triggers += [event for event in events if isinstance(event, TRIGGERS)]
        self.updates += [event for event in events if isinstance(event, SYNC_RESULTS)]

    async def send_command(self, choice: int) -> None:
        """The owner changes the campaign."""
        self.commands += 1
        desired = ("active", "paused")[choice % 2]
        command = update(self.campaign.id, name=f"command {self.commands}", status=desired)
        self.take(await handled(self.world, apply_commands, [command]))

    async def send_deletion(self, choice: int) -> None:
        """The owner deletes the campaign, in one case of three."""
        if choice % 3 == 0:
            self.take(await handled(self.world, apply_commands, [delete(self.campaign.id)]))

    async def freeze(self, choice: int) -> None:
        """A worker takes a trigger, reads the campaign, and is suspended beyond its lease."""
        await self.begin(choice, lease_seconds=0.0)

    async def begin(self, choice: int, lease_seconds: float = 30.0) -> None:
        """A worker takes a trigger, reads the campaign, and is about to push it."""
        if not self.triggers:
            return
        trigger = self.triggers.pop(choice % len(self.triggers))
        thawed = asyncio.Event()
        world = replace(self.world, platforms={"claude": Frozen(self.book, thawed)})
        before = self.book.waiting
        push = push_campaigns([trigger], world, lease_seconds)  # type: ignore[list-item]
        task = asyncio.create_task(push)
        while not task.done() and self.book.waiting == before:
            await asyncio.sleep(0.001)
        self.workers.append(Worker(trigger, thawed, task))

    async def expire(self, _: int) -> None:
        """The leases of dead workers expire."""
        async with self.world.engine.begin() as tx:
            late = "update campaigns set leased_until = now() - interval '1 second'"
            await tx.execute(text(f"{late} where leased_until is not null"))

    async def replaced(self, choice: int) -> None:
        """The broker redelivers the trigger of a suspended worker to another worker."""
        if self.workers:
            worker = self.workers[choice % len(self.workers)]
            if not worker.replaced:
                worker.replaced = True
                self.triggers.append(worker.trigger)

    async def die(self, choice: int) -> None:
        """A worker ends before its push."""
        if self.workers:
            worker = self.workers.pop(choice % len(self.workers))
            worker.task.cancel()
            await asyncio.wait({worker.task})
            if not worker.replaced:
                self.triggers.append(worker.trigger)

    async def end_uncommitted(self, choice: int) -> None:
        """A worker ends after its push and before its commit."""
        await self.finish(choice, commits=False)

    async def finish(self, choice: int, *, commits: bool = True) -> None:
        """A worker resumes and finishes; a redelivered trigger is not its own any more."""
        if not self.workers:
            return
        worker = self.workers.pop(choice % len(self.workers))
        worker.thawed.set()
        [value] = await worker.task
        await self.relay()
        if worker.replaced:
            return
        if isinstance(value, Failure) or not commits:
            self.triggers.append(worker.trigger)
        else:
            self.take(await handled(self.world, sync_campaigns, [value]))

    async def relay(self) -> None:
        """The relay publishes the outbox."""
        async with self.world.engine.begin() as tx:
            rows = await tx.execute(text("delete from outbox returning body"))
            self.take([decode(CampaignSyncRequested, row[0]) for row in rows])

    async def record(self, choice: int) -> None:
        """The result of a push arrives."""
        if self.updates:
            updates = self.updates.pop(choice % len(self.updates))
            self.take(await handled(self.world, apply_platform_updates, [updates]))

    async def finish_all(self) -> CampaignRow:
        """Deliver everything, the oldest last, without further suspensions and deaths."""
        while self.workers or self.triggers or self.updates:
            while self.workers:
                await self.finish(-1)
            await self.expire(0)
            await self.begin(0)
            await self.finish(0)
            await self.record(0)
        async with self.world.engine.begin() as tx:
            return (await lock_campaigns(tx, [self.campaign.id]))[self.campaign.id]


ACTIONS = {
    "command": Lifecycle.send_command,
    "another command": Lifecycle.send_command,
    "deletion": Lifecycle.send_deletion,
    "begin": Lifecycle.begin,
    "suspend": Lifecycle.freeze,
    "suspend another": Lifecycle.freeze,
    "redeliver": Lifecycle.replaced,
    "die": Lifecycle.die,
    "finish": Lifecycle.finish,
    "end uncommitted": Lifecycle.end_uncommitted,
    "record": Lifecycle.record,
}
steps = st.lists(
    st.tuples(st.sampled_from(list(ACTIONS)), st.integers(0, 5)), min_size=8, max_size=30
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=steps)
async def test_the_platform_ends_up_with_the_last_desired_state(
    resources: Resources, steps: list[tuple[str, int]]
) -> None:
    book, campaign = Book(), stored(name="command 0")
    await put(resources.engine, campaign)
    world = replace(resources, platforms={"claude": book})
    lifecycle = Lifecycle(world, book, campaign, triggers=[saved(campaign)])
    async with asyncio.timeout(60):
        for name, choice in steps:
            await ACTIONS[name](lifecycle, choice)
        known = await lifecycle.finish_all()
    if known.deleted_at is not None:
        assert book.campaigns == {}
        return
    [(name, held)] = book.campaigns.items()
    assert name == known.platform_campaign_id
    assert (held.name, held.status) == (f"command {lifecycle.commands}", known.desired_status)
    assert (known.status, known.synced_version) == (held.status, known.desired_version)
