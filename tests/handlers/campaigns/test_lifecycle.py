"""Whatever workers do to each other, the platform ends up with what the owner wants last.

A story is a random mix of wishes, of sync workers that begin, freeze beyond their leases,
finish or die, and of news that comes late and out of order. When all has come to rest, the
platform holds the newest version of the campaign and no other, or nothing if it was deleted.
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

HINTS = (CampaignSaved, CampaignDeleted, CampaignSyncRequested)
NEWS = (CampaignSynced, CampaignSyncRejected)


@dataclass
class Worker:
    """A sync worker in the middle of its push."""

    hint: Event
    thawed: asyncio.Event
    task: asyncio.Task[list[Any]]
    outrun: bool = False  # its hint went to another worker since


@dataclass
class Story:
    """One campaign, the events on their way about it, and the workers at work."""

    world: Resources
    book: Book
    campaign: CampaignRow
    hints: list[Event] = field(default_factory=list)
    news: list[Event] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    wishes: int = 0

    def take(self, events: list[Event]) -> None:
        """Send events on their way."""
        self.hints += [event for event in events if isinstance(event, HINTS)]
        self.news += [event for event in events if isinstance(event, NEWS)]

    async def desired_state(self, choice: int) -> None:
        """The owner changes something."""
        self.wishes += 1
        wanted = ("active", "paused")[choice % 2]
        wish = update(self.campaign.id, name=f"wish {self.wishes}", status=wanted)
        self.take(await handled(self.world, apply_commands, [wish]))

    async def give_up(self, choice: int) -> None:
        """The owner deletes it, in one case of three."""
        if choice % 3 == 0:
            self.take(await handled(self.world, apply_commands, [delete(self.campaign.id)]))

    async def freeze(self, choice: int) -> None:
        """A worker takes a hint, reads the campaign, and freezes beyond its lease."""
        await self.begin(choice, lease_seconds=0.0)

    async def begin(self, choice: int, lease_seconds: float = 30.0) -> None:
        """A worker takes a hint, reads the campaign, and is about to push it."""
        if not self.hints:
            return
        hint = self.hints.pop(choice % len(self.hints))
        thawed = asyncio.Event()
        world = replace(self.world, platforms={"claude": Frozen(self.book, thawed)})
        before = self.book.waiting
        push = push_campaigns([hint], world, lease_seconds)  # type: ignore[list-item]
        task = asyncio.create_task(push)
        while not task.done() and self.book.waiting == before:
            await asyncio.sleep(0.001)
        self.workers.append(Worker(hint, thawed, task))

    async def expire(self, _: int) -> None:
        """So much time passes that the leases of the dead run out."""
        async with self.world.engine.begin() as tx:
            late = "update campaigns set leased_until = now() - interval '1 second'"
            await tx.execute(text(f"{late} where leased_until is not null"))

    async def outrun(self, choice: int) -> None:
        """The broker takes a frozen worker for dead and gives its hint to another."""
        if self.workers:
            worker = self.workers[choice % len(self.workers)]
            if not worker.outrun:
                worker.outrun = True
                self.hints.append(worker.hint)

    async def die(self, choice: int) -> None:
        """A worker ends before its push."""
        if self.workers:
            worker = self.workers.pop(choice % len(self.workers))
            worker.task.cancel()
            await asyncio.wait({worker.task})
            if not worker.outrun:
                self.hints.append(worker.hint)

    async def end_uncommitted(self, choice: int) -> None:
        """A worker ends after its push and before its commit."""
        await self.finish(choice, commits=False)

    async def finish(self, choice: int, *, commits: bool = True) -> None:
        """A worker thaws and comes to its end; a hint that another has handled is not its own."""
        if not self.workers:
            return
        worker = self.workers.pop(choice % len(self.workers))
        worker.thawed.set()
        [value] = await worker.task
        await self.relay()
        if worker.outrun:
            return
        if isinstance(value, Failure) or not commits:
            self.hints.append(worker.hint)
        else:
            self.take(await handled(self.world, sync_campaigns, [value]))

    async def relay(self) -> None:
        """The relay publishes what stands in the outbox."""
        async with self.world.engine.begin() as tx:
            rows = await tx.execute(text("delete from outbox returning body"))
            self.take([decode(CampaignSyncRequested, row[0]) for row in rows])

    async def record(self, choice: int) -> None:
        """Some news arrives."""
        if self.news:
            news = self.news.pop(choice % len(self.news))
            self.take(await handled(self.world, apply_platform_updates, [news]))

    async def come_to_rest(self) -> CampaignRow:
        """Everything under way arrives, the oldest last, and nobody freezes or dies any more."""
        while self.workers or self.hints or self.news:
            while self.workers:
                await self.finish(-1)
            await self.expire(0)
            await self.begin(0)
            await self.finish(0)
            await self.record(0)
        async with self.world.engine.begin() as tx:
            return (await lock_campaigns(tx, [self.campaign.id]))[self.campaign.id]


ACTIONS = {
    "wish": Story.desired_state,
    "wish again": Story.desired_state,
    "give up": Story.give_up,
    "begin": Story.begin,
    "freeze": Story.freeze,
    "freeze another": Story.freeze,
    "outrun": Story.outrun,
    "die": Story.die,
    "finish": Story.finish,
    "end uncommitted": Story.end_uncommitted,
    "record": Story.record,
}
steps = st.lists(
    st.tuples(st.sampled_from(list(ACTIONS)), st.integers(0, 5)), min_size=8, max_size=30
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=steps)
async def test_the_platform_ends_up_with_what_the_owner_wants_last(
    resources: Resources, steps: list[tuple[str, int]]
) -> None:
    book, campaign = Book(), stored(name="wish 0")
    await put(resources.engine, campaign)
    world = replace(resources, platforms={"claude": book})
    story = Story(world, book, campaign, hints=[saved(campaign)])
    async with asyncio.timeout(60):
        for name, choice in steps:
            await ACTIONS[name](story, choice)
        known = await story.come_to_rest()
    if known.deleted_at is not None:
        assert book.campaigns == {}
        return
    [(name, held)] = book.campaigns.items()
    assert name == known.platform_campaign_id
    assert (held.name, held.status) == (f"wish {story.wishes}", known.desired_status)
    assert (known.status, known.synced_version) == (held.status, known.desired_version)
